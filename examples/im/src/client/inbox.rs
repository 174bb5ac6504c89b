//! How far a device is with the messages that it is sent.

/// Where a message stands among those that came before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else")]
pub enum Arrival {
    /// It comes for the first time, and in order.
    New,
    /// It came before, on an earlier connection, and its acknowledgement was lost with that.
    Again,
    /// It doesn't come behind the one before it on this connection: the server breaks its promise.
    OutOfOrder,
}

/// Positions of one connection.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The last one that came on this connection.
    came: Option<i64>,
    /// What is to be acknowledged next.
    to_acknowledge: Option<i64>,
}

impl Inbox {
    /// A message has come. `handled` is up to where messages have come on any connection, which it moves.
    pub(super) fn arrived(&mut self, position: i64, handled: &mut Option<i64>) -> Arrival {
        if self.came.is_some_and(|came| position <= came) {
            return Arrival::OutOfOrder;
        }
        self.came = Some(position);
        if handled.is_some_and(|handled| position <= handled) {
            return Arrival::Again;
        }
        *handled = Some(position);
        Arrival::New
    }

    /// Notes what is to be acknowledged. Answers whether nothing was noted before.
    pub(super) fn note(&mut self, position: i64) -> bool {
        let before = self.to_acknowledge;
        self.to_acknowledge = Some(before.unwrap_or(position).max(position));
        before.is_none()
    }

    pub(super) fn take_noted(&mut self) -> Option<i64> {
        self.to_acknowledge.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_after_a_reconnect_is_told_from_what_is_doubled() {
        let mut handled = None;
        let mut inbox = Inbox::default();
        let first: Vec<_> = [3, 7, 7, 5, 9].map(|position| inbox.arrived(position, &mut handled)).into();
        assert_eq!(
            first,
            [Arrival::New, Arrival::New, Arrival::OutOfOrder, Arrival::OutOfOrder, Arrival::New]
        );
        let mut inbox = Inbox::default();
        let second: Vec<_> = [7, 9, 10, 9].map(|position| inbox.arrived(position, &mut handled)).into();
        assert_eq!(second, [Arrival::Again, Arrival::Again, Arrival::New, Arrival::OutOfOrder]);
    }

    #[test]
    fn the_highest_position_is_acknowledged_for_all() {
        let mut inbox = Inbox::default();
        assert!(inbox.note(4));
        assert!(!inbox.note(9) && !inbox.note(6));
        assert_eq!(inbox.take_noted(), Some(9));
        assert_eq!(inbox.take_noted(), None);
    }
}
