//! One client's connection: what it is, and which of its requests goes where.

use std::net::IpAddr;
use std::sync::Arc;

use campana::session::{Idle, IdleKind, Session, SessionContext, WriteId};
use campana::{Address, CloseReason, Deadline};

use super::feed::Feed;
use super::online::Online;
use super::shared::Shared;
use crate::protocol::{
    Command, Done, ErrorCode, Failure, Frame, FrameCodec, Heartbeat, KickReason, Kicked, LogOut, Outgoing,
    Request, SetStatus, Stopping,
};

/// How often silence is looked at before it has lasted too long.
pub(super) const IDLE_LIMIT: u32 = 2;
/// Requests that may be under way for one session; with more, it isn't read from until some are answered.
const MOST_UNDER_WAY: usize = 64;
/// The same while the storage is crowded: who has many under way then waits, instead of being refused or having others refused.
const MOST_WHEN_CROWDED: usize = 1;
/// The same for requests that only read: their replies may be as long as a frame may, and together with what is pending have to stay
/// below what a connection may have pending at most.
const MOST_READS: usize = 4;
/// Pending output in bytes above which a session isn't read from.
const MOST_PENDING: usize = 1024 * 1024;

/// What callbacks of a session have beside the session.
pub(super) type Cx<'a> = SessionContext<'a, Chat>;

/// One client's connection.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) shared: Arc<Shared>,
    /// None on a Unix socket.
    pub(super) address: Option<IpAddr>,
    pub(super) phase: Phase,
    /// Requests that another thread will answer.
    under_way: usize,
    /// Those of them that only read.
    reads: usize,
    ending: Ending,
}

/// How far the client has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nobody, yet.
    Guest,
    /// A log-in or a registration is being checked.
    Checking,
    User(Box<Account>),
}

/// Who the client is.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) online: Online,
    /// To log in with, and to count failures by.
    pub(super) name: String,
    pub(super) feed: Feed,
}

/// Whether the session ends once all that is under way has been answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    No,
    /// The client has logged out, or will send no more.
    Done,
    /// The server stops.
    Stopping,
}

impl Chat {
    pub(super) fn new(shared: Arc<Shared>, address: &Address) -> Self {
        let address = address.as_inet().map(|address| address.ip());
        Self { shared, address, phase: Phase::Guest, under_way: 0, reads: 0, ending: Ending::No }
    }

    /// Does a request, or begins to. What it gives at once is a failure; all else is sent.
    fn handle(&mut self, cx: &mut Cx<'_>, frame: &Frame<'_>) -> Result<(), Failure> {
        let seq = frame.seq;
        let Some(command) = frame.command() else { return Err(unknown_command(frame)) };
        if !command.is_allowed_before_log_in() && !matches!(self.phase, Phase::User(_)) {
            return Err(Failure::new(ErrorCode::NotLoggedIn, "log in first"));
        }
        match command {
            Command::Heartbeat => self.reply::<Heartbeat>(cx, seq, &Done {}),
            Command::Compress => self.compress(cx, seq, frame.parse()?)?,
            Command::Register => self.register(cx, seq, frame.parse()?)?,
            Command::LogIn => self.log_in(cx, seq, frame.parse()?)?,
            Command::LogOut => self.log_out(cx, seq),
            Command::ChangePassword => self.change_password(cx, seq, frame.parse()?)?,
            Command::SetProfile => self.set_profile(cx, seq, frame.parse()?)?,
            Command::SetStatus => self.set_status(cx, seq, frame.parse()?)?,
            Command::FindUsers => self.find_users(cx, seq, frame.parse()?)?,

            Command::Friends => self.friends(cx, seq)?,
            Command::ApplyFriend => self.apply_friend(cx, seq, frame.parse()?)?,
            Command::AcceptFriend => self.accept_friend(cx, seq, frame.parse()?)?,
            Command::RefuseFriend => self.refuse_friend(cx, seq, frame.parse()?)?,
            Command::DeleteFriend => self.delete_friend(cx, seq, frame.parse()?)?,
            Command::SetRemark => self.set_remark(cx, seq, frame.parse()?)?,
            Command::CreateTeam => self.create_team(cx, seq, frame.parse()?)?,
            Command::RenameTeam => self.rename_team(cx, seq, frame.parse()?)?,
            Command::DeleteTeam => self.delete_team(cx, seq, frame.parse()?)?,
            Command::MoveToTeam => self.move_to_team(cx, seq, frame.parse()?)?,

            Command::Send => self.send(cx, seq, frame.parse()?)?,
            Command::MultiSend => self.multi_send(cx, seq, frame.parse()?)?,
            Command::Acknowledge => self.acknowledge(cx, seq, frame.parse()?)?,
            Command::MarkRead => self.mark_read(cx, seq, frame.parse()?)?,
            Command::History => self.history(cx, seq, frame.parse()?)?,
            Command::ListConversations => self.list_conversations(cx, seq)?,

            Command::CreateGroup => self.create_group(cx, seq, frame.parse()?)?,
            Command::JoinGroup => self.join_group(cx, seq, frame.parse()?)?,
            Command::LeaveGroup => self.leave_group(cx, seq, frame.parse()?)?,
            Command::GroupMembers => self.group_members(cx, seq, frame.parse()?)?,
            Command::FindGroups => self.find_groups(cx, seq, frame.parse()?)?,

            // What only the server says.
            Command::Failure
            | Command::Message
            | Command::CaughtUp
            | Command::Presence
            | Command::FriendChanged
            | Command::GroupChanged
            | Command::Read
            | Command::Kicked
            | Command::Stopping => return Err(unknown_command(frame)),
        }
        Ok(())
    }

    /// Who the client is.
    pub(super) fn account(&self) -> Result<&Account, Failure> {
        match &self.phase {
            Phase::User(account) => Ok(account),
            Phase::Guest | Phase::Checking => Err(Failure::new(ErrorCode::NotLoggedIn, "log in first")),
        }
    }

    pub(super) fn reply<R: Request>(&mut self, cx: &mut Cx<'_>, seq: u32, reply: &R::Reply) {
        write(cx, Outgoing::reply::<R>(seq, reply));
    }

    /// Notes that another thread will answer a request.
    pub(super) fn begin(&mut self) {
        self.under_way += 1;
    }

    /// Notes that another thread will answer a request that only reads.
    pub(super) fn begin_read(&mut self) {
        self.reads += 1;
    }

    /// Notes that one of these has been read.
    pub(super) fn end_read(&mut self) {
        self.reads -= 1;
    }

    /// Sends what another thread has answered.
    pub(super) fn finish<R: Request>(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        result: &Result<R::Reply, Failure>,
    ) {
        self.under_way -= 1;
        match result {
            Ok(reply) => self.reply::<R>(cx, seq, reply),
            Err(failure) => write(cx, Outgoing::failure(seq, failure)),
        }
        self.regulate(cx);
    }

    /// Ends the session because of something done elsewhere.
    pub(super) fn kick(&mut self, cx: &mut Cx<'_>, reason: KickReason) {
        write(cx, Outgoing::event(&Kicked { reason }));
        self.phase = Phase::Guest;
        cx.close();
    }

    fn log_out(&mut self, cx: &mut Cx<'_>, seq: u32) {
        self.reply::<LogOut>(cx, seq, &Done {});
        self.phase = Phase::Guest;
        self.end_when_done(cx, Ending::Done);
    }

    fn set_status(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        SetStatus { status }: SetStatus,
    ) -> Result<(), Failure> {
        self.account()?.online.set_status(status);
        // Behind what friends on this loop are told, and under way until then: who says it all the time makes no more work than is done.
        self.asker(cx, seq).answer::<SetStatus>(Ok(Done {}));
        Ok(())
    }

    /// Stops reading while much is under way or waits to be taken, and goes on when it isn't. Ends the session if it is to end and
    /// nothing is under way any more.
    fn regulate(&mut self, cx: &mut Cx<'_>) {
        if self.ending != Ending::No && self.under_way == 0 {
            if self.ending == Ending::Stopping {
                write(cx, Outgoing::event(&Stopping {}));
            }
            cx.close();
            return;
        }
        let most = if self.shared.storage.is_crowded() { MOST_WHEN_CROWDED } else { MOST_UNDER_WAY };
        let has_enough =
            self.under_way >= most || self.reads >= MOST_READS || cx.pending_bytes() >= MOST_PENDING;
        if has_enough || self.ending != Ending::No {
            cx.pause_reading();
        } else if cx.is_reading_paused() {
            cx.resume_reading();
        }
    }

    fn end_when_done(&mut self, cx: &mut Cx<'_>, ending: Ending) {
        self.ending = ending;
        self.regulate(cx);
    }
}

impl Session for Chat {
    type Codec = FrameCodec;

    fn on_message(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        if let Err(failure) = self.handle(cx, &frame) {
            write(cx, Outgoing::failure(frame.seq, &failure));
        }
        self.regulate(cx);
    }

    fn on_written(&mut self, cx: &mut Cx<'_>, _up_to: WriteId) {
        self.regulate(cx);
        self.deliver_more(cx);
    }

    fn on_idle(&mut self, cx: &mut Cx<'_>, idle: Idle) {
        // Of one who is not read from nothing can come.
        if idle.kind == IdleKind::Read && idle.count >= IDLE_LIMIT && !cx.is_reading_paused() {
            cx.close_because(CloseReason::TimedOut(Deadline::Idle));
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_>, _token: u64) {
        self.deliver_more(cx);
    }

    fn on_input_closed(&mut self, cx: &mut Cx<'_>) {
        self.end_when_done(cx, Ending::Done);
    }

    fn on_stopping(&mut self, cx: &mut Cx<'_>) {
        self.end_when_done(cx, Ending::Stopping);
    }

    fn on_close(&mut self, cx: &mut Cx<'_>, reason: &CloseReason, _unwritten: Option<WriteId>) {
        log::debug!("{} from {}: {reason}", cx.id(), cx.peer_address());
        self.phase = Phase::Guest;
    }
}

/// Writes a frame. If it can't be, the session is ending, or it is the server's fault.
pub(super) fn write(cx: &mut Cx<'_>, message: Outgoing<'_>) {
    if let Err(error @ campana::session::WriteError::Encode(_)) = cx.write(message) {
        log::error!("{} for {} can't be encoded: {error}", message.command().name(), cx.id());
    }
}

fn unknown_command(frame: &Frame<'_>) -> Failure {
    Failure::new(ErrorCode::UnknownCommand, format!("there is no request {}", frame.number))
}
