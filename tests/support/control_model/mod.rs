//! A model of control sockets: any packets of several clients, answered at once or later, and what must hold all the same.
//!
//! Property tests and fuzz targets run the same: bytes are decoded to a [`Case`], which is played on a loop under test.

mod case;
mod client;
mod oracle;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use campana::control::{Access, Command, ControlServer, ControlSession, Failure, Responder, Router};
use campana::session::{SessionId, Sessions};
use campana::testing::TestLoop;
use serde_json::{Value, json};

use case::{Answer, Packet};
#[allow(unused_imports, reason = "fuzzing decodes whole cases")]
pub(crate) use case::{Case, Limits, Step};
use client::Client;
use oracle::{Add, Fail, Large, large};

/// More sessions than this at once show nothing more.
const MOST_CLIENTS: usize = 3;

/// Plays a case.
///
/// # Panics
///
/// If anything that is promised doesn't hold.
pub(crate) fn play(case: &Case) {
    let mut model = Model::new(case);
    for step in &case.steps {
        model.step(step);
        model.check();
    }
    model.settle();
    for client in &mut model.clients {
        client.peer.close();
    }
    model.test.run_until_idle();
    model.put_by.lock().unwrap().clear();
    model.test.run_until_idle();
}

/// A request that was put off.
struct PutBy {
    session: SessionId,
    responder: Responder,
}

struct Model {
    test: TestLoop<Sessions<ControlSession>>,
    limits: Limits,
    clients: Vec<Client>,
    put_by: Arc<Mutex<Vec<PutBy>>>,
}

impl Model {
    fn new(case: &Case) -> Self {
        let limits = case.limits;
        let put_by = Arc::default();
        let server = ControlServer::bind("@model")
            .authorize(move |_| Access::roles(limits.is_operator.then_some("operator")))
            .configure(|config| {
                config.max_errors = limits.max_errors();
                config.max_consecutive_errors = limits.max_consecutive_errors();
                config.max_in_flight = limits.max_in_flight();
                config.max_request = limits.max_request();
            });
        let mut test = TestLoop::control(server, router(&put_by));
        if let Some(seed) = case.seed {
            test = test.seed(seed);
        }
        let mut model = Self { test, limits, clients: Vec::new(), put_by };
        model.connect();
        model
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Connect => self.connect(),
            Step::Send(on, packets) => self.send(*on, packets),
            Step::Repeat(on, packet, times) => self.send(*on, &vec![packet.clone(); (*times).into()]),
            Step::Answer(which, answer) => self.answer(*which, *answer),
            Step::Turn => self.test.turn(),
            Step::Settle => self.settle(),
            Step::Advance(time) => {
                self.test.advance(Duration::from_millis(10) * u32::from(*time));
                for client in &mut self.clients {
                    client.time_passed = true;
                }
            }
            Step::Window(on, bytes) => {
                if let Some(client) = self.pick(*on) {
                    client.peer.set_window((*bytes).into());
                }
            }
            Step::HalfClose(on) => {
                if let Some(client) = self.pick(*on) {
                    client.peer.shutdown();
                    client.sends_no_more = true;
                }
            }
            Step::Close(on) => {
                if let Some(client) = self.pick(*on) {
                    client.peer.close();
                    client.is_gone = true;
                }
            }
        }
    }

    fn connect(&mut self) {
        if self.clients.iter().filter(|client| !client.is_gone).count() < MOST_CLIENTS {
            let peer = self.test.connect_packet();
            let session = self.test.session(&peer).expect("a session").id();
            self.clients.push(Client::new(peer, session, self.limits));
        }
    }

    fn pick(&mut self, on: u8) -> Option<&mut Client> {
        let mut present: Vec<_> = self.clients.iter_mut().filter(|client| !client.is_gone).collect();
        let index = usize::from(on) % present.len().max(1);
        (index < present.len()).then(|| present.swap_remove(index))
    }

    fn send(&mut self, on: u8, packets: &[Packet]) {
        if let Some(client) = self.pick(on).filter(|client| !client.sends_no_more) {
            for packet in packets {
                client.send(&packet.bytes());
            }
        }
    }

    fn answer(&mut self, which: u8, answer: Answer) {
        let mut put_by = self.put_by.lock().unwrap();
        let index = usize::from(which) % put_by.len().max(1);
        if index >= put_by.len() {
            return;
        }
        let PutBy { session, mut responder } = put_by.remove(index);
        let Some(client) = self.clients.iter_mut().find(|client| client.session == session) else { return };
        client.answers(responder.id(), answer);
        let is_wanted = responder.is_wanted();
        let result = json!({"later": responder.id()});
        let given = match answer {
            Answer::Reply => responder.reply(result),
            Answer::ReplyAndEnd => {
                responder.end_after_reply();
                responder.reply(result)
            }
            Answer::Fail => responder.fail(Failure::new("later").code("later")),
            Answer::Drop => {
                drop(responder);
                return;
            }
        };
        assert_eq!(given.is_ok(), is_wanted);
    }

    /// What holds at any time: what has come so far is what was to come.
    fn check(&mut self) {
        for client in &mut self.clients {
            client.receive();
        }
    }

    /// Waits until all that can be answered is, and looks whether that is so.
    fn settle(&mut self) {
        for client in &self.clients {
            client.peer.set_window(usize::MAX);
        }
        self.test.run_until_idle();
        self.check();
        let put_by = self.put_by.lock().unwrap();
        let waiting: Vec<SessionId> = put_by.iter().map(|put_by| put_by.session).collect();
        drop(put_by);
        for client in &mut self.clients {
            let counts = Arc::new(Mutex::new(None));
            let report = Arc::clone(&counts);
            self.test.with_session(&client.peer, move |session, _| {
                *report.lock().unwrap() = Some(session.counts())
            });
            let counts = counts.lock().unwrap().take();
            let waiting = waiting.iter().filter(|session| **session == client.session).count();
            client.check_settled(counts, waiting);
        }
    }
}

fn router(put_by: &Arc<Mutex<Vec<PutBy>>>) -> Router {
    let put_by = Arc::clone(put_by);
    let commands = [
        Command::new("echo", "").answers(|_, params: Value| Ok(params)),
        Command::new("add", "").answers(|_, add: Add| Ok(add.a.wrapping_add(add.b))),
        Command::new("none", "").answers(|_, (): ()| Ok(())),
        Command::new("fail", "").answers(|_, fail: Fail| {
            let mut messages = fail.messages.into_iter();
            let failure = Failure::new(messages.next().unwrap_or_default()).with_all(fail.base);
            let failure = messages.fold(failure, Failure::and);
            Err::<(), _>(if let Some(code) = fail.code { failure.code(code) } else { failure })
        }),
        Command::new("later", "").defers(move |call, _: Value, responder| {
            let session = call.session().id();
            put_by.lock().unwrap().push(PutBy { session, responder });
        }),
        Command::new("guarded", "").role("operator").answers(|_, (): ()| Ok(true)),
        Command::new("large", "").answers(|_, Large { length }| Ok(large(length))),
        Command::new("end", "").answers(|call, (): ()| {
            call.end_after_reply();
            Ok("bye")
        }),
        Command::new("terminate", "").answers(|call, (): ()| {
            call.terminate();
            Ok("to nobody")
        }),
    ];
    let mut router = Router::new();
    for command in commands {
        router.add(command).unwrap();
    }
    let names: Vec<&str> = router.commands().map(Command::name).collect();
    assert_eq!(names, oracle::COMMANDS);
    router
}
