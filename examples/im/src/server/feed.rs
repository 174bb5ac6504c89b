//! What of a user's messages one session has been sent, and what comes next.
//!
//! Messages reach a session in two ways: from the disk, page by page, for what is behind; and, once there is nothing behind, with
//! their commit. The feed says which it is, so that everything comes in the order of positions, once. If the device doesn't keep
//! up, what is new is left on the disk, and the feed is behind again: a slow device costs a page, not a queue.

/// How far a session is with its messages. It knows neither the session nor the disk, and is told of both.
#[derive(Debug)]
pub(crate) struct Feed {
    /// The position of the last message that was sent.
    sent: i64,
    /// The highest position that was left on the disk since the last page was asked for.
    left: i64,
    state: State,
    /// Whether the session was told that it has caught up.
    told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing is behind.
    Live,
    /// A page is being read.
    Reading,
    /// What is behind waits until the device has taken what it was sent, or until reading is tried again.
    Waiting,
}

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Nothing,
    /// Read a page of messages behind this position.
    Read(i64),
    /// Tell the session that it has caught up.
    TellCaughtUp(i64),
}

/// A page that was read and sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSent {
    /// The position of its last message, if it has any.
    pub(crate) last: Option<i64>,
    /// Whether there was more when it was read.
    pub(crate) more: bool,
}

impl Feed {
    /// Begins behind a position: a page has to be [read](Next::Read) now.
    pub(crate) fn begin(position: i64) -> (Self, Next) {
        (Self { sent: position, left: 0, state: State::Reading, told: false }, Next::Read(position))
    }

    /// The position of the last message that was sent.
    pub(crate) fn sent(&self) -> i64 {
        self.sent
    }

    /// A message was stored. Answers whether it is to be sent now. A device that is `congested` has not taken much of what it was
    /// sent before.
    pub(crate) fn on_stored(&mut self, position: i64, congested: bool) -> bool {
        if position <= self.sent {
            // It was in a page that was read after its commit.
            return false;
        }
        if self.state == State::Live && !congested {
            self.sent = position;
            return true;
        }
        if self.state == State::Live {
            self.state = State::Waiting;
        }
        self.left = self.left.max(position);
        false
    }

    /// A page was read and sent.
    pub(crate) fn on_page(&mut self, page: PageSent, congested: bool) -> Next {
        if self.state != State::Reading {
            return Next::Nothing;
        }
        self.sent = page.last.map_or(self.sent, |last| last.max(self.sent));
        if page.more || self.left > self.sent {
            self.state = State::Waiting;
            return if congested { Next::Nothing } else { self.on_room() };
        }
        self.state = State::Live;
        if std::mem::replace(&mut self.told, true) { Next::Nothing } else { Next::TellCaughtUp(self.sent) }
    }

    /// A page could not be read: it is to be [tried again](Self::on_room) after a while.
    pub(crate) fn on_read_failed(&mut self) {
        if self.state == State::Reading {
            self.state = State::Waiting;
        }
    }

    /// The device has taken what it was sent, or it is time to try again.
    pub(crate) fn on_room(&mut self) -> Next {
        if self.state != State::Waiting {
            return Next::Nothing;
        }
        self.state = State::Reading;
        // What was left before is in the page: it had been committed.
        self.left = 0;
        Next::Read(self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(last: i64, more: bool) -> PageSent {
        PageSent { last: Some(last), more }
    }

    const EMPTY: PageSent = PageSent { last: None, more: false };

    fn live(position: i64) -> Feed {
        let (mut feed, next) = Feed::begin(position);
        assert_eq!(next, Next::Read(position));
        assert_eq!(feed.on_page(EMPTY, false), Next::TellCaughtUp(position));
        feed
    }

    #[test]
    fn pages_are_read_until_nothing_is_behind() {
        let (mut feed, _) = Feed::begin(5);
        assert_eq!(feed.on_page(page(9, true), false), Next::Read(9));
        assert_eq!(feed.on_page(page(12, true), false), Next::Read(12));
        assert_eq!(feed.on_page(page(13, false), false), Next::TellCaughtUp(13));
        assert!(feed.on_stored(14, false));
        assert_eq!(feed.sent(), 14);
    }

    #[test]
    fn what_is_stored_while_a_page_is_read_comes_with_a_page() {
        let (mut feed, _) = Feed::begin(5);
        assert!(!feed.on_stored(20, false));
        // Its reading began before the commit.
        assert_eq!(feed.on_page(page(9, false), false), Next::Read(9));
        assert_eq!(feed.on_page(page(20, false), false), Next::TellCaughtUp(20));
    }

    #[test]
    fn what_was_in_a_page_is_not_sent_again() {
        let (mut feed, _) = Feed::begin(5);
        assert_eq!(feed.on_page(page(20, false), false), Next::TellCaughtUp(20));
        assert!(!feed.on_stored(19, false) && !feed.on_stored(20, false));
        assert!(feed.on_stored(21, false));
    }

    #[test]
    fn a_page_that_holds_what_was_left_while_it_was_read_is_the_last() {
        let (mut feed, _) = Feed::begin(5);
        assert!(!feed.on_stored(9, false));
        assert_eq!(feed.on_page(page(9, false), false), Next::TellCaughtUp(9));
    }

    #[test]
    fn what_a_congested_device_can_not_take_is_left_and_read_when_it_can() {
        let mut feed = live(5);
        assert!(!feed.on_stored(6, true));
        assert!(!feed.on_stored(7, false), "out of order");
        assert_eq!(feed.on_room(), Next::Read(5));
        assert_eq!(feed.on_page(page(7, false), true), Next::Nothing);
        assert!(feed.on_stored(8, false));
    }

    #[test]
    fn a_congested_device_gets_the_next_page_when_it_has_taken_the_last() {
        let (mut feed, _) = Feed::begin(5);
        assert_eq!(feed.on_page(page(9, true), true), Next::Nothing);
        assert_eq!(feed.on_room(), Next::Read(9));
        assert_eq!(feed.on_room(), Next::Nothing);
        assert_eq!(feed.on_page(page(12, false), false), Next::TellCaughtUp(12));
        assert_eq!(feed.on_room(), Next::Nothing);
    }

    #[test]
    fn a_page_that_could_not_be_read_is_asked_for_again() {
        let (mut feed, _) = Feed::begin(5);
        feed.on_read_failed();
        assert!(!feed.on_stored(6, false));
        assert_eq!(feed.on_room(), Next::Read(5));
        assert_eq!(feed.on_page(page(6, false), false), Next::TellCaughtUp(6));
    }

    #[test]
    fn catching_up_is_told_once() {
        let mut feed = live(5);
        assert!(!feed.on_stored(6, true));
        assert_eq!(feed.on_room(), Next::Read(5));
        assert_eq!(feed.on_page(page(6, false), false), Next::Nothing);
    }
}
