//! The numbers of requests, replies and events.

macro_rules! commands {
    ($($(#[$doc:meta])+ $name:ident = $number:literal,)+) => {
        /// What a frame is about: its `cmd`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum Command {
            $($(#[$doc])+ $name = $number,)+
        }

        impl Command {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The command of a number; nothing if there is none.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// Its name, as in `PROTOCOL.md`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

commands! {
    /// A request failed.
    Failure = 0,

    /// Shows that the client is alive.
    Heartbeat = 1,
    /// Both directions are compressed from now on.
    Compress = 2,
    /// Makes a user.
    Register = 3,
    /// Says who the client is.
    LogIn = 4,
    /// Ends the session.
    LogOut = 5,
    /// Replaces the password.
    ChangePassword = 6,
    /// Replaces nickname and signature.
    SetProfile = 7,
    /// Says how present the user is at this device.
    SetStatus = 8,
    /// Looks for users by the beginning of their names.
    FindUsers = 9,

    /// Asks for friends, teams, and applications that wait.
    Friends = 16,
    /// Asks somebody to be a friend.
    ApplyFriend = 17,
    /// Agrees to an application.
    AcceptFriend = 18,
    /// Declines an application.
    RefuseFriend = 19,
    /// Ends a friendship.
    DeleteFriend = 20,
    /// Notes something on a friend.
    SetRemark = 21,
    /// Makes a team.
    CreateTeam = 22,
    /// Renames a team.
    RenameTeam = 23,
    /// Removes a team, and leaves its friends without one.
    DeleteTeam = 24,
    /// Puts a friend into a team.
    MoveToTeam = 25,

    /// Sends a message to a friend or a group.
    Send = 32,
    /// Sends the same message to several friends, one by one.
    MultiSend = 33,
    /// Says up to where messages have arrived.
    Acknowledge = 34,
    /// Says up to where a conversation has been read.
    MarkRead = 35,
    /// Asks for earlier messages of a conversation.
    History = 36,
    /// Asks for all conversations and how far they were read.
    ListConversations = 37,

    /// Makes a group.
    CreateGroup = 48,
    /// Becomes a member of a group.
    JoinGroup = 49,
    /// Leaves a group.
    LeaveGroup = 50,
    /// Asks who is in a group.
    GroupMembers = 51,
    /// Looks for groups by the beginning of their names.
    FindGroups = 52,

    /// A message for the user.
    Message = 128,
    /// All that came while the device was away has been delivered.
    CaughtUp = 129,
    /// A friend came, went, or changed status.
    Presence = 130,
    /// Somebody applied, agreed, declined, or ended the friendship.
    FriendChanged = 131,
    /// Somebody joined or left a group.
    GroupChanged = 132,
    /// Somebody has read a conversation.
    Read = 133,
    /// The session ends because of something done elsewhere.
    Kicked = 134,
    /// The server is about to stop.
    Stopping = 135,
}

impl Command {
    /// Its number in a frame.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether the server takes it of a client that hasn't logged in.
    #[must_use]
    pub const fn is_allowed_before_log_in(self) -> bool {
        matches!(self, Self::Heartbeat | Self::Register | Self::LogIn)
    }
}
