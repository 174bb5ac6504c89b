//! The operations, in a database in memory; the threads, with one in a directory.

use rusqlite::Connection;

use super::store::MemberCache;
use super::{NewMessage, Store, StoreError, schema};
use crate::protocol::{ClientType, Conversation, ErrorCode, Sent, UserId};

mod delivery;
mod friends;
mod groups;
mod messages;
mod permissions;
mod schemas;
mod threads;
mod users;

/// A database in memory with three users, of whom ann and bob are friends.
struct Database {
    connection: Connection,
    members: MemberCache,
}

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const CID: UserId = UserId(3);

impl Database {
    fn new() -> Self {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        let database = Self { connection, members: MemberCache::default() };
        let store = database.at(0);
        for (name, user) in [("ann", ANN), ("bob", BOB), ("cid", CID)] {
            assert_eq!(store.create_user(name, "hash", name).unwrap(), user);
        }
        make_friends(&store, ANN, BOB);
        database
    }

    fn at(&self, now: i64) -> Store<'_> {
        Store { connection: &self.connection, now, members: &self.members }
    }
}

fn make_friends(store: &Store<'_>, user: UserId, other: UserId) {
    store.apply_friend(user, other, "").unwrap();
    store.accept_friend(other, user).unwrap();
}

fn message<'a>(sender: UserId, conversation: Conversation, client_id: &'a str) -> NewMessage<'a> {
    NewMessage { sender, client: ClientType::Pc, conversation, client_id, text: "hello" }
}

fn send(store: &Store<'_>, sender: UserId, conversation: Conversation, client_id: &str) -> Sent {
    store.store_message(message(sender, conversation, client_id)).unwrap().sent
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, StoreError>, code: ErrorCode) {
    match result {
        Err(StoreError::Refused(failure)) => assert_eq!(failure.code, code),
        other => panic!("{other:?} where {code:?} was expected"),
    }
}
