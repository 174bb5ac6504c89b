//! Attributes of sessions, and where they are kept.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use campana::session::{AttributeId, AttributeKey, AttributeStore};

#[path = "support/probe.rs"]
mod probe;

use probe::{Cx, Then, Told, lines, on_message, probes};

const NAME: AttributeKey<String> = AttributeKey::new("name");
const COUNT: AttributeKey<u32> = AttributeKey::new("count");
/// Of another type, under a name that is taken.
const OTHER_COUNT: AttributeKey<i64> = AttributeKey::new("count");

/// Calls `check` with a session.
fn with_session(check: impl Fn(&mut Cx<'_>) + Send + Sync + 'static) {
    let (mut test, log) = probes(lines(), on_message(move |_, cx| check(cx)));
    let peer = test.connect();
    peer.send("check\n");
    test.run_until_idle();
    assert_eq!(log.lines(), ["open", "message check"]);
}

#[test]
fn what_is_set_is_there_until_it_is_replaced_or_removed() {
    with_session(|cx| {
        let mut attributes = cx.attributes();
        assert_eq!(attributes.get(NAME), None);
        assert!(!attributes.contains(NAME));
        assert_eq!(attributes.set(NAME, "ann".into()), None);
        assert_eq!(attributes.get(NAME).map(String::as_str), Some("ann"));
        assert_eq!(attributes.set(NAME, "bob".into()).as_deref(), Some("ann"), "set gives the old value");
        assert!(attributes.contains(NAME));
        assert_eq!(attributes.remove(NAME).as_deref(), Some("bob"));
        assert_eq!(attributes.remove(NAME), None);
        assert!(!attributes.contains(NAME));
    });
}

#[test]
fn a_value_can_be_put_in_only_if_there_is_none() {
    with_session(|cx| {
        assert_eq!(cx.attributes().set_if_absent(COUNT, 1), Ok(()));
        assert_eq!(cx.attributes().set_if_absent(COUNT, 2), Err(2));
        assert_eq!(cx.attributes().get(COUNT), Some(&1));
    });
}

#[test]
fn a_value_is_made_when_it_is_first_asked_for() {
    with_session(|cx| {
        *cx.attributes().get_or_insert_with(COUNT, || 10) += 1;
        *cx.attributes().get_or_insert_with(COUNT, || panic!("there is one")) += 1;
        assert_eq!(cx.attributes().get(COUNT), Some(&12));
        if let Some(count) = cx.attributes().get_mut(COUNT) {
            *count = 0;
        }
        assert_eq!(cx.attributes().get(COUNT), Some(&0));
    });
}

#[test]
fn keys_of_one_name_and_of_different_types_are_different() {
    with_session(|cx| {
        let mut attributes = cx.attributes();
        attributes.set(COUNT, 1);
        assert_eq!(attributes.get(OTHER_COUNT), None);
        attributes.set(OTHER_COUNT, -1);
        assert_eq!((attributes.get(COUNT), attributes.get(OTHER_COUNT)), (Some(&1), Some(&-1)));
        attributes.set(NAME, String::new());
        let mut names = attributes.names();
        names.sort_unstable();
        assert_eq!(names, ["count", "count", "name"]);
    });
}

#[test]
fn sessions_have_each_their_own() {
    let (mut test, log) = probes(
        lines(),
        on_message(|text, cx| {
            let before = cx.attributes().set(NAME, text.to_owned());
            assert_eq!(before, None);
        }),
    );
    for name in ["ann", "bob"] {
        test.connect().send(format!("{name}\n"));
    }
    test.run_until_idle();
    assert_eq!(log.lines().len(), 4);
}

#[test]
fn filters_and_the_session_share_them() {
    use campana::codec::{Lines, Text};
    use campana::session::{FilterContext, MessageFilter, Verdict};

    struct Counts;
    impl MessageFilter<Text<Lines>> for Counts {
        fn on_message(&mut self, cx: &mut FilterContext<'_, Text<Lines>>, _message: &mut &str) -> Verdict {
            *cx.attributes().get_or_insert_with(COUNT, || 0) += 1;
            Verdict::Pass
        }
    }
    let (mut test, _) = probes(
        lines().filter("counts", || Counts),
        on_message(|text, cx| {
            let count = cx.attributes().get(COUNT).copied();
            assert_eq!(count, text.parse().ok());
        }),
    );
    test.connect().send("1\n2\n3\n");
    test.run_until_idle();
}

/// What sessions leave behind, and how their stores were used.
#[derive(Default)]
struct Archive {
    kept: HashMap<&'static str, String>,
    made: usize,
    disposed: usize,
    closed_before_disposed: bool,
}

/// A store that keeps names beyond the session, and everything else within it.
struct Archived {
    archive: Arc<Mutex<Archive>>,
    values: HashMap<AttributeId, Box<dyn Any>>,
}

impl AttributeStore for Archived {
    fn get(&self, id: AttributeId) -> Option<&dyn Any> {
        AttributeStore::get(&self.values, id)
    }

    fn get_mut(&mut self, id: AttributeId) -> Option<&mut dyn Any> {
        AttributeStore::get_mut(&mut self.values, id)
    }

    fn insert(&mut self, id: AttributeId, value: Box<dyn Any>) -> Option<Box<dyn Any>> {
        if let Some(text) = value.downcast_ref::<String>() {
            self.archive.lock().unwrap().kept.insert(id.name(), text.clone());
        }
        self.values.insert(id, value)
    }

    fn remove(&mut self, id: AttributeId) -> Option<Box<dyn Any>> {
        self.values.remove(&id)
    }

    fn ids(&self) -> Vec<AttributeId> {
        self.values.keys().copied().collect()
    }

    fn dispose(&mut self) {
        self.archive.lock().unwrap().disposed += 1;
    }
}

#[test]
fn a_store_of_ones_own_keeps_values_beyond_the_session_and_is_disposed_once_after_on_close() {
    let archive: Arc<Mutex<Archive>> = Arc::default();
    let (of_stores, of_sessions) = (Arc::clone(&archive), Arc::clone(&archive));
    let service = lines().attributes(move |_| {
        of_stores.lock().unwrap().made += 1;
        Archived { archive: Arc::clone(&of_stores), values: HashMap::new() }
    });
    let (mut test, _) = probes(service, move |told, cx| {
        match told {
            Told::Message(text) => drop(cx.attributes().set(NAME, text.clone())),
            Told::Close(..) => {
                assert!(cx.attributes().contains(NAME));
                let mut archive = of_sessions.lock().unwrap();
                archive.closed_before_disposed = archive.disposed == 0;
            }
            _ => {}
        }
        Then::Usual
    });
    let peer = test.connect();
    test.run_until_idle();
    assert_eq!(archive.lock().unwrap().made, 0, "it is made when it is first used");
    peer.send("ann\nbob\n");
    test.run_until_idle();
    peer.close();
    test.run_until_idle();
    let archive = archive.lock().unwrap();
    assert_eq!((archive.made, archive.disposed, archive.closed_before_disposed), (1, 1, true));
    assert_eq!(archive.kept["name"], "bob");
}

#[test]
fn a_store_is_disposed_after_a_panic_too() {
    let archive: Arc<Mutex<Archive>> = Arc::default();
    let of_stores = Arc::clone(&archive);
    let service =
        lines().attributes(move |_| Archived { archive: Arc::clone(&of_stores), values: HashMap::new() });
    let (test, _) = probes(service, |told, cx| {
        match told {
            Told::Message(_) => drop(cx.attributes().set(COUNT, 1)),
            Told::Close(..) => panic!("asked to"),
            _ => {}
        }
        Then::Usual
    });
    let mut test = test.allow_panics();
    let peer = test.connect();
    peer.send("go\n");
    peer.close();
    test.run_until_idle();
    assert_eq!(archive.lock().unwrap().disposed, 1);
}
