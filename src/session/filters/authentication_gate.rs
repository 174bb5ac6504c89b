//! Messages of peers who haven't logged in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::Codec;
use crate::session::{FilterContext, MessageFilter, Verdict};

/// Keeps messages from a session until its peer is known, but for those that may come before: the log-in itself.
///
/// Whether the peer is known is what [`is_authenticated`](crate::session::SessionView::is_authenticated) says. So the gate is open
/// unless [`SessionConfig::authentication`](crate::session::SessionConfig::authentication) is set, which also limits how long the
/// log-in may take and how large its messages may be; and the session opens it by
/// [`set_authenticated`](crate::session::SessionView::set_authenticated).
///
/// ```
/// use campana::codec::{Lines, Text};
/// use campana::session::filters::{AuthenticationGate, BeforeLogIn};
/// use campana::session::{Authentication, FilterContext, Session, SessionContext, SessionService};
/// use campana::testing::TestLoop;
///
/// #[derive(Clone)]
/// struct LogInFirst;
///
/// impl BeforeLogIn<Text<Lines>> for LogInFirst {
///     fn allows(&self, line: &&str) -> bool {
///         line.starts_with("login ")
///     }
///
///     fn refuse(&mut self, cx: &mut FilterContext<'_, Text<Lines>>, _line: &&str) {
///         let _ = cx.write("error: log in first");
///     }
/// }
///
/// struct Chat;
///
/// impl Session for Chat {
///     type Codec = Text<Lines>;
///
///     fn on_message(&mut self, cx: &mut SessionContext<'_, Self>, line: &str) {
///         if line == "login secret" {
///             cx.set_authenticated();
///         }
///         let _ = cx.write("ok");
///     }
/// }
///
/// let gate = AuthenticationGate::new(LogInFirst);
/// let of_sessions = gate.clone();
/// let service = SessionService::new(|| Text::over(Lines::new()))
///     .configure(|config| config.authentication = Some(Authentication::default()))
///     .filter("gate", move || of_sessions.clone());
///
/// let mut test = TestLoop::sessions(service, |_| Chat);
/// let peer = test.connect();
/// peer.send("hello\nlogin secret\nhello\n");
/// test.run_until_idle();
/// assert_eq!(peer.receive(), b"error: log in first\nok\nok\n");
/// assert_eq!(gate.refused(), 1);
/// ```
///
/// Clones share the count.
#[derive(Clone, Debug)]
pub struct AuthenticationGate<B> {
    before: B,
    refused: Arc<AtomicU64>,
}

/// Which messages may come before the log-in, and what happens to others.
pub trait BeforeLogIn<C: Codec>: 'static {
    /// Whether a message may come from a peer who isn't known yet.
    fn allows(&self, message: &C::In<'_>) -> bool;

    /// Called for a message that may not, and which the session doesn't see. A reply can be written here, or the session closed; by
    /// default the message is dropped without a word.
    fn refuse(&mut self, _cx: &mut FilterContext<'_, C>, _message: &C::In<'_>) {}
}

impl<B> AuthenticationGate<B> {
    /// A gate with these rules.
    #[must_use]
    pub fn new(before: B) -> Self {
        Self { before, refused: Arc::new(AtomicU64::new(0)) }
    }

    /// How many messages were kept back so far, in all sessions that share the count.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl<C: Codec, B: BeforeLogIn<C>> MessageFilter<C> for AuthenticationGate<B> {
    fn wants_writes(&self) -> bool {
        false
    }

    fn on_message(&mut self, cx: &mut FilterContext<'_, C>, message: &mut C::In<'_>) -> Verdict {
        if cx.is_authenticated() || self.before.allows(message) {
            return Verdict::Pass;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.before.refuse(cx, message);
        Verdict::Drop
    }
}
