use super::{ANN, BOB, CID, Database, assert_refused};
use crate::protocol::{ErrorCode, UserId};
use crate::storage::ApplicationOutcome;

#[test]
fn an_application_waits_until_it_is_accepted() {
    let database = Database::new();
    let store = database.at(5);
    assert!(matches!(store.apply_friend(ANN, CID, "hi").unwrap(), ApplicationOutcome::Waits(_)));
    let waiting = store.friend_list(CID).unwrap().applications;
    assert_eq!(
        (waiting.len(), waiting[0].profile.user, &*waiting[0].text, waiting[0].time),
        (1, ANN, "hi", 5)
    );
    assert!(!store.are_friends(ANN, CID).unwrap());

    let pair = store.accept_friend(CID, ANN).unwrap();
    assert_eq!((pair.user.user, pair.other.user), (CID, ANN));
    assert!(store.are_friends(ANN, CID).unwrap() && store.are_friends(CID, ANN).unwrap());
    assert!(store.friend_list(CID).unwrap().applications.is_empty());
    assert_refused(store.accept_friend(CID, ANN), ErrorCode::NoSuchApplication);
    assert_refused(store.apply_friend(ANN, CID, ""), ErrorCode::AlreadyFriends);
}

#[test]
fn applying_again_replaces_the_text() {
    let database = Database::new();
    database.at(1).apply_friend(ANN, CID, "one").unwrap();
    database.at(2).apply_friend(ANN, CID, "two").unwrap();
    let waiting = database.at(3).friend_list(CID).unwrap().applications;
    assert_eq!((waiting.len(), &*waiting[0].text, waiting[0].time), (1, "two", 2));
}

#[test]
fn a_refused_application_may_be_made_again() {
    let database = Database::new();
    let store = database.at(0);
    store.apply_friend(ANN, CID, "").unwrap();
    store.refuse_friend(CID, ANN).unwrap();
    assert!(!store.are_friends(ANN, CID).unwrap());
    assert_refused(store.refuse_friend(CID, ANN), ErrorCode::NoSuchApplication);
    assert!(matches!(store.apply_friend(ANN, CID, "").unwrap(), ApplicationOutcome::Waits(_)));
}

#[test]
fn two_who_apply_to_each_other_are_friends() {
    let database = Database::new();
    let store = database.at(0);
    store.apply_friend(ANN, CID, "").unwrap();
    assert!(matches!(store.apply_friend(CID, ANN, "").unwrap(), ApplicationOutcome::Friends(_)));
    assert!(store.are_friends(ANN, CID).unwrap());
    assert!(store.friend_list(ANN).unwrap().applications.is_empty());
    assert!(store.friend_list(CID).unwrap().applications.is_empty());
}

#[test]
fn nobody_applies_to_nobody_or_to_themselves() {
    let database = Database::new();
    assert_refused(database.at(0).apply_friend(ANN, UserId(99), ""), ErrorCode::NoSuchUser);
    assert_refused(database.at(0).apply_friend(ANN, ANN, ""), ErrorCode::BadRequest);
}

#[test]
fn a_friendship_ends_on_both_sides() {
    let database = Database::new();
    let store = database.at(0);
    store.delete_friend(BOB, ANN).unwrap();
    assert!(!store.are_friends(ANN, BOB).unwrap() && !store.are_friends(BOB, ANN).unwrap());
    assert_refused(store.delete_friend(ANN, BOB), ErrorCode::NotAFriend);
}

#[test]
fn remarks_and_teams_are_the_users_own() {
    let database = Database::new();
    let store = database.at(0);
    store.set_remark(ANN, BOB, "the tall one").unwrap();
    store.create_team(ANN, "work").unwrap();
    store.move_to_team(ANN, BOB, "work").unwrap();
    let ann = store.friend_list(ANN).unwrap();
    assert_eq!((&*ann.friends[0].remark, &*ann.friends[0].team), ("the tall one", "work"));
    let bob = store.friend_list(BOB).unwrap();
    assert_eq!((&*bob.friends[0].remark, &*bob.friends[0].team), ("", ""));
    assert_refused(store.set_remark(ANN, CID, ""), ErrorCode::NotAFriend);
    assert_refused(store.move_to_team(ANN, CID, "work"), ErrorCode::NotAFriend);
    assert_refused(store.move_to_team(BOB, ANN, "work"), ErrorCode::NoSuchTeam);
}

#[test]
fn a_teams_friends_follow_its_name_and_outlive_it() {
    let database = Database::new();
    let store = database.at(0);
    store.create_team(ANN, "work").unwrap();
    store.create_team(ANN, "play").unwrap();
    assert_refused(store.create_team(ANN, "work"), ErrorCode::TeamExists);
    store.move_to_team(ANN, BOB, "work").unwrap();
    assert_refused(store.rename_team(ANN, "work", "play"), ErrorCode::TeamExists);
    store.rename_team(ANN, "work", "office").unwrap();
    assert_eq!(store.friend_list(ANN).unwrap().friends[0].team, "office");
    store.delete_team(ANN, "office").unwrap();
    let list = store.friend_list(ANN).unwrap();
    assert_eq!((&*list.friends[0].team, list.teams), ("", vec!["play".to_owned()]));
    assert_refused(store.delete_team(ANN, "office"), ErrorCode::NoSuchTeam);
    store.move_to_team(ANN, BOB, "play").unwrap();
    store.move_to_team(ANN, BOB, "").unwrap();
    assert_eq!(store.friend_list(ANN).unwrap().friends[0].team, "");
}
