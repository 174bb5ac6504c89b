use super::{ANN, BOB, Database, assert_refused};
use crate::protocol::{ClientType, ErrorCode, UserId};
use crate::storage::Credentials;

#[test]
fn names_are_unique_without_regard_to_case() {
    let database = Database::new();
    assert_refused(database.at(0).create_user("ANN", "hash", ""), ErrorCode::NameTaken);
    assert_eq!(database.at(0).credentials_by_name("Ann").unwrap().unwrap().user, ANN);
    assert!(database.at(0).credentials_by_name("an").unwrap().is_none());
}

#[test]
fn a_password_is_replaced_only_if_it_is_still_the_one_that_was_checked() {
    let database = Database::new();
    let store = database.at(0);
    let checked = store.credentials_of(ANN).unwrap().unwrap();
    store.set_password(&checked, "new").unwrap();
    assert_eq!(store.credentials_of(ANN).unwrap().unwrap().password, "new");
    assert_refused(store.set_password(&checked, "newer"), ErrorCode::WrongPassword);
    assert_refused(store.open_device(&checked, ClientType::Pc), ErrorCode::WrongPassword);
    assert_eq!(store.credentials_of(BOB).unwrap().unwrap().password, "hash");
}

#[test]
fn a_profile_keeps_what_is_not_replaced() {
    let database = Database::new();
    let store = database.at(0);
    store.set_profile(ANN, Some("Ann"), None).unwrap();
    let profile = store.set_profile(ANN, None, Some("away for lunch")).unwrap();
    assert_eq!((&*profile.name, &*profile.nickname, &*profile.signature), ("ann", "Ann", "away for lunch"));
    assert_refused(store.profile(UserId(99)), ErrorCode::NoSuchUser);
}

#[test]
fn users_are_found_by_the_beginning_of_their_names() {
    let database = Database::new();
    let store = database.at(0);
    store.create_user("annabel", "hash", "").unwrap();
    store.create_user("a_b", "hash", "").unwrap();
    let found = |prefix: &str| -> Vec<String> {
        store.users_by_prefix(prefix).unwrap().into_iter().map(|profile| profile.name).collect()
    };
    assert_eq!(found("ANN"), ["ann", "annabel"]);
    assert_eq!(found("a_"), ["a_b"]);
    assert_eq!(found("%"), Vec::<String>::new());
    assert_eq!(found("").len(), 5);
}

#[test]
fn a_device_needs_a_user() {
    let database = Database::new();
    let nobody = Credentials { user: UserId(99), password: "hash".to_owned() };
    assert_refused(database.at(0).open_device(&nobody, ClientType::Pc), ErrorCode::WrongPassword);
}
