//! Asks the server, again and again, on a thread of its own.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use campana::control::{ClientError, ControlClient};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;

use crate::view::{Asked, Connections, Dated, Loops, News, Query, Sample, Servers, Sessions};

/// The most rows that are fetched of a kind. If there are more, the server chooses.
const MAX_ROWS: usize = 2000;
/// How many rows a reply has, unless that is more than a packet holds.
const ROWS_A_REPLY: usize = 500;
/// How soon the second sample follows the first, as without it there are no rates.
const SECOND_SAMPLE: Duration = Duration::from_millis(250);
/// How often a server that is gone is looked for.
const RETRY: Duration = Duration::from_secs(1);

/// What the poller is told to do.
pub(crate) enum Order {
    /// Asks this from now on.
    Look(Query),
    Pause(bool),
    Kick {
        id: String,
        abort: bool,
    },
}

pub(crate) struct Poller {
    path: String,
    interval: Duration,
    client: Option<ControlClient>,
    query: Query,
    paused: bool,
    rows_a_reply: usize,
    /// How many there were last, of each.
    connections: usize,
    sessions: usize,
}

impl Poller {
    /// Connects, and takes a first sample.
    pub(crate) fn start(path: &str, interval: Duration, query: Query) -> Result<(Self, Sample), ClientError> {
        let mut client = ControlClient::connect(path)?;
        let mut poller = Self {
            path: path.to_owned(),
            interval,
            client: None,
            query,
            paused: false,
            rows_a_reply: ROWS_A_REPLY,
            connections: 0,
            sessions: 0,
        };
        let sample = poller.sample(&mut client)?;
        poller.client = Some(client);
        Ok((poller, sample))
    }

    /// Follows orders and tells the news, until nobody gives orders any more.
    pub(crate) fn run(mut self, orders: &Receiver<Order>, tell: impl Fn(News)) {
        let mut next = Some(Instant::now() + SECOND_SAMPLE.min(self.interval));
        loop {
            let wait = next.map_or(Duration::MAX, |next| next.saturating_duration_since(Instant::now()));
            match orders.recv_timeout(wait) {
                Ok(Order::Look(query)) => {
                    // What was never asked for would be missing until the next turn, or as long as it is paused.
                    if query.sessions.is_some() && self.query.sessions.is_none() {
                        next = Some(Instant::now());
                    }
                    self.query = query;
                }
                Ok(Order::Pause(paused)) => {
                    self.paused = paused;
                    next = (!paused).then(Instant::now);
                }
                Ok(Order::Kick { id, abort }) => {
                    self.kick(&id, abort, &tell);
                    next = (!self.paused).then(Instant::now);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let pause = self.poll(&tell);
                    next = (!self.paused).then(|| Instant::now() + pause);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes a sample, and says when to take the next.
    fn poll(&mut self, tell: &impl Fn(News)) -> Duration {
        let (mut client, pause) = match self.client.take() {
            Some(client) => (client, self.interval),
            None => match ControlClient::connect(self.path.as_str()) {
                Ok(client) => (client, SECOND_SAMPLE.min(self.interval)),
                Err(error) => return self.lost(&error, tell),
            },
        };
        match self.sample(&mut client) {
            Ok(sample) => {
                self.client = Some(client);
                tell(News::Sample(Box::new(sample)));
                pause
            }
            Err(error) => self.lost(&error, tell),
        }
    }

    fn lost(&mut self, error: &ClientError, tell: &impl Fn(News)) -> Duration {
        self.client = None;
        tell(News::Lost(error.to_string()));
        RETRY.min(self.interval)
    }

    fn kick(&mut self, id: &str, abort: bool, tell: &impl Fn(News)) {
        let Some(client) = &mut self.client else {
            return tell(News::Notice(format!("{id} can't be closed: there is no server")));
        };
        match client.request::<_, IgnoredAny>("kick", &json!({"id": id, "abort": abort})) {
            Ok(_) => tell(News::Notice(format!("{id} is being closed"))),
            Err(error) => {
                tell(News::Notice(format!("{id} can't be closed: {error}")));
                if !is_answer(&error) {
                    self.lost(&error, tell);
                }
            }
        }
    }

    fn sample(&mut self, client: &mut ControlClient) -> Result<Sample, ClientError> {
        let mut trouble = None;
        let loops: Dated<Loops> = ask(client, "loops")?;
        let servers: Dated<Servers> = or_trouble(ask(client, "servers"), "servers", &mut trouble)?;

        let asked = self.query.connections.clone();
        let connections = self.rows(client, "connections", &asked, self.connections);
        let connections: Dated<Connections> = or_trouble(connections, "connections", &mut trouble)?;
        self.connections = connections.is.total;

        let mut sessions = None;
        if let Some(asked) = self.query.sessions.clone() {
            let answer = self.rows(client, "sessions", &asked, self.sessions);
            let answer: Dated<Sessions> = or_trouble(answer, "sessions", &mut trouble)?;
            self.sessions = answer.is.total;
            sessions = Some(answer);
        }
        Ok(Sample { loops, servers, connections, sessions, trouble })
    }

    /// Fetches rows page by page, all of them if there were not too many last, else those that are asked for.
    fn rows<R: Paged>(
        &mut self,
        client: &mut ControlClient,
        command: &str,
        asked: &Asked,
        last: usize,
    ) -> Result<Dated<R>, ClientError> {
        let (filter, sort, descending) = if last > MAX_ROWS {
            (asked.filter.as_str(), asked.sort, asked.descending)
        } else {
            // No row moves from page to page, and the totals, which are made of all, don't change with the filter.
            ("", "id", false)
        };
        let mut all = R::default();
        let mut at = None;
        let mut offset = 0;
        while offset < MAX_ROWS {
            let limit = self.rows_a_reply.min(MAX_ROWS - offset);
            let params = PageParams { filter, sort, descending, offset, limit };
            let page: R = match client.request(command, &params) {
                Err(ClientError::Failed(error)) if error.code == "too_large" && limit > 1 => {
                    self.rows_a_reply = limit / 2;
                    continue;
                }
                page => page?,
            };
            at.get_or_insert_with(Instant::now);
            let (matched, rows) = (page.matched(), page.rows());
            offset += rows;
            all.append(page);
            if rows == 0 || offset >= matched {
                break;
            }
        }
        all.drop_duplicates();
        Ok(Dated { at: at.unwrap_or_else(Instant::now), is: all })
    }
}

#[derive(Serialize)]
struct PageParams<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    filter: &'a str,
    sort: &'a str,
    descending: bool,
    offset: usize,
    limit: usize,
}

/// A reply with a part of many rows.
trait Paged: DeserializeOwned + Default {
    fn matched(&self) -> usize;
    fn rows(&self) -> usize;
    fn append(&mut self, page: Self);
    /// Rows may move from page to page as their order changes, so that one comes twice.
    fn drop_duplicates(&mut self);
}

impl Paged for Connections {
    fn matched(&self) -> usize {
        self.matched
    }

    fn rows(&self) -> usize {
        self.connections.len()
    }

    fn append(&mut self, page: Self) {
        (self.total, self.matched) = (page.total, page.matched);
        self.connections.extend(page.connections);
    }

    fn drop_duplicates(&mut self) {
        let mut seen = HashSet::new();
        self.connections.retain(|connection| seen.insert(connection.id.clone()));
    }
}

impl Paged for Sessions {
    fn matched(&self) -> usize {
        self.matched
    }

    fn rows(&self) -> usize {
        self.sessions.len()
    }

    fn append(&mut self, page: Self) {
        (self.total, self.matched) = (page.total, page.matched);
        self.sessions.extend(page.sessions);
    }

    fn drop_duplicates(&mut self) {
        let mut seen = HashSet::new();
        self.sessions.retain(|session| seen.insert(session.id.clone()));
    }
}

fn ask<T: DeserializeOwned>(client: &mut ControlClient, command: &str) -> Result<Dated<T>, ClientError> {
    let is = client.request(command, &())?;
    Ok(Dated { at: Instant::now(), is })
}

/// What the server answered, or nothing and a note why if it wouldn't; an error if it can't answer any more.
fn or_trouble<T: Default>(
    answer: Result<Dated<T>, ClientError>,
    command: &str,
    trouble: &mut Option<String>,
) -> Result<Dated<T>, ClientError> {
    answer.or_else(|error| {
        if !is_answer(&error) {
            return Err(error);
        }
        *trouble = Some(format!("{command}: {error}"));
        Ok(Dated { at: Instant::now(), is: T::default() })
    })
}

/// Whether the server has answered, if not with what was wanted: it can be asked again.
fn is_answer(error: &ClientError) -> bool {
    matches!(error, ClientError::Failed(_) | ClientError::UnexpectedResult(_))
}
