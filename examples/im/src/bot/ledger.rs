//! What was sent and what came, and whether it fits together.

use std::collections::BTreeMap;

/// A message that was acknowledged: it has a number in its conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) talk: usize,
    pub(crate) number: i64,
    /// The sender's own count of its messages.
    pub(crate) count: u64,
}

/// A message that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Received {
    pub(crate) talk: usize,
    pub(crate) number: i64,
    pub(crate) sender: usize,
    pub(crate) count: u64,
}

/// What one user has sent and received, in that order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) sent: Vec<Sent>,
    pub(crate) received: Vec<Received>,
    /// Messages that were sent and neither acknowledged nor refused.
    pub(crate) unanswered: usize,
    /// Whether a message had to be sent again behind later ones, because the server had no room for it at first.
    pub(crate) reordered: bool,
}

/// How many there were of what was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Checked {
    pub(crate) conversations: usize,
    pub(crate) messages: usize,
    pub(crate) deliveries: usize,
}

/// Checks the ledgers of all users. `members` are those of each conversation.
///
/// # Errors
///
/// What doesn't fit together, one line each.
pub(crate) fn check(ledgers: &[Ledger], members: &[Vec<usize>]) -> Result<Checked, Vec<String>> {
    let mut faults = Vec::new();
    let mut stored: Vec<BTreeMap<i64, (usize, u64)>> = vec![BTreeMap::new(); members.len()];
    for (user, ledger) in ledgers.iter().enumerate() {
        if ledger.unanswered > 0 {
            faults.push(format!("user {user}: {} messages were not answered", ledger.unanswered));
        }
        for Sent { talk, number, count } in &ledger.sent {
            if let Some((other, _)) = stored[*talk].insert(*number, (user, *count)) {
                faults
                    .push(format!("conversation {talk}: users {other} and {user} both have number {number}"));
            }
        }
    }
    for (talk, messages) in stored.iter().enumerate() {
        check_numbers(talk, messages, ledgers, &mut faults);
    }
    let mut talks: Vec<Vec<usize>> = vec![Vec::new(); ledgers.len()];
    for (talk, members) in members.iter().enumerate() {
        members.iter().for_each(|user| talks[*user].push(talk));
    }
    for (user, ledger) in ledgers.iter().enumerate() {
        check_deliveries(user, ledger, &stored, &talks[user], &mut faults);
    }
    if faults.is_empty() {
        Ok(Checked {
            conversations: stored.iter().filter(|messages| !messages.is_empty()).count(),
            messages: stored.iter().map(BTreeMap::len).sum(),
            deliveries: ledgers.iter().map(|ledger| ledger.received.len()).sum(),
        })
    } else {
        Err(faults)
    }
}

/// Numbers have no gaps, and the messages of each sender the order in which they were sent.
fn check_numbers(
    talk: usize,
    messages: &BTreeMap<i64, (usize, u64)>,
    ledgers: &[Ledger],
    faults: &mut Vec<String>,
) {
    let mut before: Option<i64> = None;
    let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
    for (&number, &(sender, count)) in messages {
        if let Some(before) = before.filter(|before| before + 1 != number) {
            faults
                .push(format!("conversation {talk}: there is nothing between numbers {before} and {number}"));
        }
        before = Some(number);
        let last = counts.insert(sender, count);
        if last.is_some_and(|last| last >= count) && !ledgers[sender].reordered {
            faults
                .push(format!("conversation {talk}: message {count} of user {sender} is behind a later one"));
        }
    }
}

/// Each member got all that others sent, once and in order.
fn check_deliveries(
    user: usize,
    ledger: &Ledger,
    stored: &[BTreeMap<i64, (usize, u64)>],
    talks: &[usize],
    faults: &mut Vec<String>,
) {
    let mut last: BTreeMap<usize, i64> = BTreeMap::new();
    let mut got: BTreeMap<usize, usize> = BTreeMap::new();
    for Received { talk, number, sender, count } in &ledger.received {
        if last.insert(*talk, *number).is_some_and(|last| last >= *number) {
            faults
                .push(format!("user {user}: number {number} of conversation {talk} came twice or too late"));
        }
        if stored[*talk].get(number) != Some(&(*sender, *count)) {
            faults.push(format!(
                "user {user}: number {number} of conversation {talk} came as message {count} of user {sender}, \
                 which was not acknowledged as that"
            ));
        }
        *got.entry(*talk).or_default() += 1;
    }
    for talk in talks {
        let due = stored[*talk].values().filter(|(sender, _)| *sender != user).count();
        let got = got.remove(talk).unwrap_or(0);
        if got != due {
            faults.push(format!("user {user}: {got} messages of conversation {talk} came, and not {due}"));
        }
    }
    for (talk, got) in got {
        faults.push(format!("user {user}: {got} messages of conversation {talk} came, which is none of its"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: i64, count: u64) -> Sent {
        Sent { talk: 0, number, count }
    }

    fn received(number: i64, sender: usize, count: u64) -> Received {
        Received { talk: 0, number, sender, count }
    }

    /// Users 0 and 1 have sent two messages and one, and 2 is a member who says nothing.
    fn good() -> Vec<Ledger> {
        let ledger = |sent: &[Sent], received: &[Received]| Ledger {
            sent: sent.to_vec(),
            received: received.to_vec(),
            ..Ledger::default()
        };
        vec![
            ledger(&[sent(5, 1), sent(7, 2)], &[received(6, 1, 1)]),
            ledger(&[sent(6, 1)], &[received(5, 0, 1), received(7, 0, 2)]),
            ledger(&[], &[received(5, 0, 1), received(6, 1, 1), received(7, 0, 2)]),
        ]
    }

    fn members() -> Vec<Vec<usize>> {
        vec![vec![0, 1, 2]]
    }

    fn faults(change: impl FnOnce(&mut [Ledger])) -> Vec<String> {
        let mut ledgers = good();
        change(&mut ledgers);
        check(&ledgers, &members()).unwrap_err()
    }

    #[test]
    fn what_fits_together_is_counted() {
        let checked = Checked { conversations: 1, messages: 3, deliveries: 6 };
        assert_eq!(check(&good(), &members()), Ok(checked));
    }

    #[test]
    fn a_lost_delivery_is_found() {
        let faults = faults(|ledgers| {
            ledgers[2].received.remove(1);
        });
        assert_eq!(faults, ["user 2: 2 messages of conversation 0 came, and not 3"]);
    }

    #[test]
    fn a_doubled_delivery_is_found() {
        let faults = faults(|ledgers| ledgers[2].received.insert(1, received(5, 0, 1)));
        assert_eq!(faults[0], "user 2: number 5 of conversation 0 came twice or too late");
    }

    #[test]
    fn deliveries_in_the_wrong_order_are_found() {
        let faults = faults(|ledgers| ledgers[1].received.swap(0, 1));
        assert_eq!(faults, ["user 1: number 5 of conversation 0 came twice or too late"]);
    }

    #[test]
    fn a_gap_in_the_numbers_is_found() {
        let faults = faults(|ledgers| {
            ledgers[0].sent[1].number = 8;
            ledgers[1].received[1].number = 8;
            ledgers[2].received[2].number = 8;
        });
        assert_eq!(faults, ["conversation 0: there is nothing between numbers 6 and 8"]);
    }

    #[test]
    fn a_number_given_twice_is_found() {
        let faults = faults(|ledgers| ledgers[1].sent[0].number = 5);
        assert_eq!(faults[0], "conversation 0: users 0 and 1 both have number 5");
    }

    #[test]
    fn a_message_stored_twice_is_found() {
        let faults = faults(|ledgers| {
            ledgers[1].received.push(received(8, 0, 2));
            ledgers[2].received.push(received(8, 0, 2));
        });
        assert!(faults[0].contains("which was not acknowledged as that"), "{faults:?}");
    }

    #[test]
    fn messages_of_one_sender_in_the_wrong_order_are_found_unless_they_were_put_off() {
        let mut ledgers = good();
        (ledgers[0].sent[0].count, ledgers[0].sent[1].count) = (2, 1);
        for user in [1, 2] {
            for message in ledgers[user].received.iter_mut().filter(|message| message.sender == 0) {
                message.count = 3 - message.count;
            }
        }
        assert_eq!(
            check(&ledgers, &members()).unwrap_err(),
            ["conversation 0: message 1 of user 0 is behind a later one"]
        );
        ledgers[0].reordered = true;
        assert!(check(&ledgers, &members()).is_ok());
    }

    #[test]
    fn a_message_without_an_answer_is_found() {
        assert_eq!(faults(|ledgers| ledgers[0].unanswered = 2), ["user 0: 2 messages were not answered"]);
    }

    #[test]
    fn a_message_of_a_foreign_conversation_is_found() {
        let members = vec![vec![0, 1], vec![0, 2]];
        let mut ledgers = good();
        ledgers[2].received.clear();
        assert!(check(&ledgers, &members).is_ok());
        ledgers[2].received.push(received(5, 0, 1));
        assert_eq!(
            check(&ledgers, &members).unwrap_err(),
            ["user 2: 1 messages of conversation 0 came, which is none of its"]
        );
    }
}
