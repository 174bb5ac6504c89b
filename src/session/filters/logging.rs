//! What happens to sessions, in the log.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use log::Level;

use crate::codec::Codec;
use crate::connection::CloseReason;
use crate::session::{FilterContext, Idle, MessageFilter, SessionId, Verdict};

/// Logs what happens to a session at the filter's place: its beginning, messages in both directions, idleness, the peer's end,
/// its own end and the reason, with the figures.
///
/// Messages may hold passwords. So by default a message is only a number; [`Logging::sizes`] gives its length too, where messages
/// are bytes or text, [`Logging::content`] all of it, and [`Logging::describing`] what you say: its kind, for instance.
///
/// ```
/// use campana::codec::{Lines, Text};
/// use campana::session::SessionService;
/// use campana::session::filters::{Content, Logging};
/// # use campana::session::{Session, SessionContext};
/// # struct Echo;
/// # impl Session for Echo {
/// #     type Codec = Text<Lines>;
/// #     fn on_message(&mut self, _cx: &mut SessionContext<'_, Self>, _line: &str) {}
/// # }
///
/// let service = SessionService::<Echo>::new(|| Text::over(Lines::new()))
///     .filter("log", || Logging::sizes().level(log::Level::Info).target("my_server::sessions"));
/// ```
///
/// ```text
/// INFO my_server::sessions: session 2-1: opened by 192.0.2.1:49152
/// INFO my_server::sessions: session 2-1: received #1, 5 bytes
/// INFO my_server::sessions: session 2-1: writes #1, 7 bytes
/// ```
///
/// What is written is logged when it passes the filter, and may still be refused on its way from there.
#[derive(Clone, Debug)]
pub struct Logging<D = Nothing> {
    describe: D,
    level: Level,
    target: Cow<'static, str>,
    longest: usize,
    received: u64,
    written: u64,
}

/// What is said of messages in the log.
///
/// ```
/// use std::fmt;
///
/// use campana::codec::{Lines, Text};
/// use campana::session::filters::{DescribeMessages, Logging};
///
/// /// The first word.
/// #[derive(Clone)]
/// struct Commands;
///
/// impl DescribeMessages<Text<Lines>> for Commands {
///     fn received(&self, line: &&str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "command {:?}", line.split(' ').next().unwrap_or_default())
///     }
///
///     fn written(&self, line: &&str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "{} bytes", line.len())
///     }
/// }
///
/// let filter = Logging::describing(Commands);
/// ```
pub trait DescribeMessages<C: Codec>: 'static {
    /// Writes what is said of a message that has come in. What comes from the peer should be escaped, as `{:?}` does it, or it could
    /// forge lines of the log.
    ///
    /// # Errors
    ///
    /// Those of the formatter.
    fn received(&self, message: &C::In<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Writes what is said of a message that is to be written.
    ///
    /// # Errors
    ///
    /// Those of the formatter.
    fn written(&self, message: &C::Out<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Nothing is said of a message but its number.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Nothing;

/// The length of a message is said, where messages are bytes or text.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Sizes;

/// A message is shown as `{:?}` shows it, passwords included.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Content;

impl<C: Codec> DescribeMessages<C> for Nothing {
    fn received(&self, _message: &C::In<'_>, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    fn written(&self, _message: &C::Out<'_>, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl<C: Codec> DescribeMessages<C> for Sizes
where
    for<'a> C::In<'a>: AsRef<[u8]>,
    for<'a> C::Out<'a>: AsRef<[u8]>,
{
    fn received(&self, message: &C::In<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", message.as_ref().len())
    }

    fn written(&self, message: &C::Out<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", message.as_ref().len())
    }
}

impl<C: Codec> DescribeMessages<C> for Content
where
    for<'a> C::In<'a>: fmt::Debug,
    for<'a> C::Out<'a>: fmt::Debug,
{
    fn received(&self, message: &C::In<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(message, f)
    }

    fn written(&self, message: &C::Out<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(message, f)
    }
}

impl Logging {
    /// Logs messages as numbers.
    #[must_use]
    pub const fn new() -> Self {
        Self::describing(Nothing)
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self::new()
    }
}

impl Logging<Sizes> {
    /// Logs messages with their lengths, where they are bytes or text.
    #[must_use]
    pub const fn sizes() -> Self {
        Self::describing(Sizes)
    }
}

impl Logging<Content> {
    /// Logs all that is in messages, passwords included.
    #[must_use]
    pub const fn content() -> Self {
        Self::describing(Content)
    }
}

impl<D> Logging<D> {
    /// Logs messages with what `describe` says of them.
    #[must_use]
    pub const fn describing(describe: D) -> Self {
        let target = Cow::Borrowed("campana::session");
        Self { describe, level: Level::Debug, target, longest: 256, received: 0, written: 0 }
    }

    /// At which level it logs. Default: debug.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Under which target it logs. Default: `campana::session`.
    #[must_use]
    pub fn target(mut self, target: impl Into<Cow<'static, str>>) -> Self {
        self.target = target.into();
        self
    }

    /// How many bytes are said of a message at most; what is cut off an ellipsis stands for. Default 256.
    #[must_use]
    pub fn longest(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    fn log(&self, id: SessionId, what: fmt::Arguments<'_>) {
        log::log!(target: &self.target, self.level, "session {id}: {what}");
    }
}

impl<C: Codec, D: DescribeMessages<C>> MessageFilter<C> for Logging<D> {
    fn on_open(&mut self, cx: &mut FilterContext<'_, C>) -> Verdict {
        self.log(cx.id(), format_args!("opened by {}", cx.peer_address()));
        Verdict::Pass
    }

    fn on_message(&mut self, cx: &mut FilterContext<'_, C>, message: &mut C::In<'_>) -> Verdict {
        self.received += 1;
        let said = said(self.longest, |f| self.describe.received(message, f));
        self.log(cx.id(), format_args!("received #{}{said}", self.received));
        Verdict::Pass
    }

    fn on_write(&mut self, cx: &mut FilterContext<'_, C>, message: &mut C::Out<'_>) -> Verdict {
        self.written += 1;
        let said = said(self.longest, |f| self.describe.written(message, f));
        self.log(cx.id(), format_args!("writes #{}{said}", self.written));
        Verdict::Pass
    }

    fn on_write_encoded(&mut self, cx: &mut FilterContext<'_, C>, encoded: &[u8]) -> Verdict {
        self.written += 1;
        self.log(cx.id(), format_args!("writes #{}, {} bytes as encoded", self.written, encoded.len()));
        Verdict::Pass
    }

    fn on_idle(&mut self, cx: &mut FilterContext<'_, C>, idle: Idle) -> Verdict {
        self.log(cx.id(), format_args!("idle ({:?}), told {} times", idle.kind, idle.count));
        Verdict::Pass
    }

    fn on_input_closed(&mut self, cx: &mut FilterContext<'_, C>) -> Verdict {
        self.log(cx.id(), format_args!("the peer sends no more"));
        Verdict::Pass
    }

    fn on_closing(&mut self, cx: &mut FilterContext<'_, C>) {
        self.log(cx.id(), format_args!("closes"));
    }

    fn on_close(&mut self, cx: &mut FilterContext<'_, C>, reason: &CloseReason) {
        if !log::log_enabled!(target: &self.target, self.level) {
            return;
        }
        let stats = cx.stats();
        self.log(
            cx.id(),
            format_args!(
                "ended: {reason}; {} bytes and {} messages received, {} bytes and {} messages written",
                stats.bytes_in, stats.messages_in, stats.bytes_out, stats.messages_out
            ),
        );
    }
}

/// What is said of a message, after a comma, and not at any length.
fn said(longest: usize, write: impl Fn(&mut fmt::Formatter<'_>) -> fmt::Result) -> impl fmt::Display {
    Said { longest, write }
}

struct Said<W> {
    longest: usize,
    write: W,
}

impl<W: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for Said<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cut = Cut { text: String::new(), room: self.longest, is_cut: false };
        let written = write!(cut, "{}", FromFn(&self.write));
        if !cut.text.is_empty() {
            write!(f, ", {}", cut.text)?;
        }
        if cut.is_cut {
            return f.write_str("...");
        }
        written
    }
}

/// Displays what a function writes.
struct FromFn<'a, W>(&'a W);

impl<W: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for FromFn<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

/// Takes so many bytes of text, and ends the formatting then.
struct Cut {
    text: String,
    room: usize,
    is_cut: bool,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let taken = floor_char_boundary(text, self.room);
        self.text.push_str(&text[..taken]);
        self.room -= taken;
        self.is_cut = taken < text.len();
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The last place up to `most` where a character begins, or the text's end.
fn floor_char_boundary(text: &str, most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    (0..=most).rev().find(|&place| text.is_char_boundary(place)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(longest: usize, text: &str) -> String {
        said(longest, |f| f.write_str(text)).to_string()
    }

    #[test]
    fn what_is_said_is_cut_at_a_character() {
        assert_eq!(shown(5, "12345"), ", 12345");
        assert_eq!(shown(5, "123456"), ", 12345...");
        assert_eq!(shown(5, "1234\u{fc}"), ", 1234...");
        assert_eq!(shown(5, ""), "");
        assert_eq!(shown(0, "1"), "...");
    }

    #[test]
    fn what_is_cut_off_is_not_even_formatted() {
        struct Endless;
        impl fmt::Debug for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("and on ")?;
                }
            }
        }
        assert_eq!(said(10, |f| write!(f, "{Endless:?}")).to_string(), ", and on and...");
    }
}
