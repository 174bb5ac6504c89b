use super::{PASSWORD, TestServer, log_in, log_in_request, message};
use crate::protocol::{
    ChangePassword, ClientType, Conversation, ErrorCode, FindUsers, KickReason, Kicked, LogIn, LogOut,
    Register, Send, SetProfile, UserId,
};

#[test]
fn who_registers_can_log_in_and_out() {
    let server = TestServer::start();
    let user = server.register("ann");
    let mut client = server.connect();
    let reply = log_in(&mut client, "Ann", ClientType::Pc);
    assert_eq!((reply.profile.user, &*reply.profile.name, &*reply.profile.nickname), (user, "ann", "ann"));
    assert_eq!((reply.acknowledged, client.caught_up().len()), (0, 0));
    client.request(&LogOut {}).unwrap();
    client.assert_closed();
}

#[test]
fn what_was_asked_before_logging_out_is_answered() {
    let server = TestServer::start();
    let [mut ann, _bob] = server.friends("ann", "bob");
    let to_bob = Conversation::User(UserId(2));
    let send = ann.send(&message(to_bob, "1", "hello"));
    let log_out = ann.send(&LogOut {});
    // The one is answered by the loop, the other behind its commit, and so later as a rule.
    ann.answer::<LogOut>(log_out).unwrap();
    ann.answer::<Send>(send).unwrap();
    ann.assert_closed();
}

#[test]
fn names_are_taken_once() {
    let server = TestServer::start();
    server.register("ann");
    let again = Register { name: "ANN".into(), password: PASSWORD.into(), nickname: String::new() };
    let mut client = server.connect();
    assert_eq!(client.request(&again).unwrap_err().code, ErrorCode::NameTaken);
    let bad = Register { name: "a b".into(), ..again.clone() };
    assert_eq!(client.request(&bad).unwrap_err().code, ErrorCode::BadRequest);
    let other = Register { name: "bob".into(), ..again };
    client.request(&other).unwrap();
}

#[test]
fn a_wrong_password_and_an_unknown_name_look_alike_and_leave_the_client_a_guest() {
    let server = TestServer::start();
    server.register("ann");
    let mut client = server.connect();
    let wrong = LogIn { password: "correct hors".into(), ..log_in_request("ann", ClientType::Pc) };
    let failures = [&wrong, &log_in_request("bob", ClientType::Pc)].map(|request| client.request(request));
    let [wrong, unknown] = failures.map(Result::unwrap_err);
    assert_eq!((wrong.code, &wrong), (ErrorCode::WrongPassword, &unknown));
    assert_eq!(client.request(&LogOut {}).unwrap_err().code, ErrorCode::NotLoggedIn);
    log_in(&mut client, "ann", ClientType::Pc);
}

#[test]
fn guessing_is_refused_after_ten_failures_even_with_the_right_password() {
    let server = TestServer::start();
    server.register("ann");
    let mut client = server.connect();
    let wrong = LogIn { password: "wrong!".into(), ..log_in_request("ann", ClientType::Pc) };
    for _ in 0..10 {
        assert_eq!(client.request(&wrong).unwrap_err().code, ErrorCode::WrongPassword);
    }
    let right = log_in_request("ann", ClientType::Pc);
    assert_eq!(client.request(&right).unwrap_err().code, ErrorCode::TooManyAttempts);
}

#[test]
fn a_second_log_in_of_a_session_is_refused() {
    let server = TestServer::start();
    server.register("ann");
    let mut client = server.connect();
    let request = log_in_request("ann", ClientType::Pc);
    let (first, second) = (client.send(&request), client.send(&request));
    assert_eq!(client.answer::<LogIn>(second).unwrap_err().code, ErrorCode::AlreadyLoggedIn);
    client.answer::<LogIn>(first).unwrap();
    assert_eq!(client.request(&request).unwrap_err().code, ErrorCode::AlreadyLoggedIn);
}

#[test]
fn a_changed_password_is_the_only_one_and_ends_other_sessions() {
    let server = TestServer::start();
    server.register("ann");
    let mut client = server.log_in("ann", ClientType::Pc);
    let mut mobile = server.log_in("ann", ClientType::Mobile);
    let change = |old: &str| ChangePassword { old: old.into(), new: "battery staple".into() };
    assert_eq!(client.request(&change("wrong!")).unwrap_err().code, ErrorCode::WrongPassword);
    client.request(&change(PASSWORD)).unwrap();
    assert_eq!(mobile.event::<Kicked>().reason, KickReason::PasswordChanged);
    mobile.assert_closed();
    let old = log_in_request("ann", ClientType::Mobile);
    let mut again = server.connect();
    assert_eq!(again.request(&old).unwrap_err().code, ErrorCode::WrongPassword);
    again.request(&LogIn { password: "battery staple".into(), ..old }).unwrap();
}

#[test]
fn profiles_are_changed_and_found() {
    let server = TestServer::start();
    let [ann, _bob] = ["ann", "bob"].map(|name| server.register(name));
    let mut client = server.log_in("ann", ClientType::Pc);
    let set = SetProfile { nickname: Some("Ännchen".into()), signature: Some("hi".into()) };
    client.request(&set).unwrap();
    let mut other = server.log_in("bob", ClientType::Pc);
    let found = other.request(&FindUsers { user: None, name: Some("AN".into()) }).unwrap().users;
    assert_eq!(
        (found.len(), found[0].user, &*found[0].nickname, &*found[0].signature),
        (1, ann, "Ännchen", "hi")
    );
    assert_eq!(other.request(&FindUsers { user: Some(ann), name: None }).unwrap().users, found);
    assert_eq!(other.request(&FindUsers::default()).unwrap_err().code, ErrorCode::BadRequest);
}
