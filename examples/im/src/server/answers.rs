//! Requests that other threads answer: the way there and back.

use std::sync::Arc;

use super::peer::Peer;
use super::session::{Chat, Cx};
use super::shared::Shared;
use crate::protocol::{Failure, Request};
use crate::storage::{Store, StoreError};

/// Whom an answer is for: a session, and a request of it.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) peer: Peer,
    pub(super) seq: u32,
}

impl Asker {
    /// Sends the reply or the failure, on the session's loop.
    pub(super) fn answer<R: Request>(self, result: Result<R::Reply, Failure>)
    where
        R::Reply: Send + 'static,
    {
        let seq = self.seq;
        self.peer.run(move |chat, cx| chat.finish::<R>(cx, seq, &result));
    }
}

/// What is done behind the commit, on the storage thread: telling others, and making the reply.
pub(super) struct Committed<'a> {
    pub(super) shared: &'a Shared,
    /// The session that asked for it.
    pub(super) peer: &'a Peer,
}

impl Chat {
    /// A request of this session that another thread will answer.
    pub(super) fn asker(&mut self, cx: &mut Cx<'_>, seq: u32) -> Asker {
        self.begin();
        Asker { peer: Peer::of(cx), seq }
    }

    /// Answers a request of type `R` with what `run` changes in the database, once that is on disk. `then` makes the reply of it.
    pub(super) fn write<R: Request, T: Send + 'static>(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        run: impl FnOnce(&Store<'_>) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce(&Committed<'_>, T) -> R::Reply + Send + 'static,
    ) where
        R::Reply: Send + 'static,
    {
        let (asker, shared) = (self.asker(cx, seq), Arc::clone(&self.shared));
        self.shared.storage.write(run, move |result| {
            let committed = Committed { shared: &shared, peer: &asker.peer };
            let reply = result.map(|value| then(&committed, value));
            asker.answer::<R>(reply);
        });
    }

    /// Answers a request of type `R` with what `run` finds in the database. `then` completes it on the session's loop.
    pub(super) fn read<R: Request>(
        &mut self,
        cx: &mut Cx<'_>,
        seq: u32,
        run: impl FnOnce(&Store<'_>) -> Result<R::Reply, StoreError> + Send + 'static,
        then: impl FnOnce(&Shared, &mut R::Reply) + Send + 'static,
    ) where
        R::Reply: Send + 'static,
    {
        let asker = self.asker(cx, seq);
        self.begin_read();
        self.shared.storage.read(run, move |result| {
            asker.peer.run(move |chat, cx| {
                chat.end_read();
                let mut result = result;
                if let Ok(reply) = &mut result {
                    then(&chat.shared, reply);
                }
                chat.finish::<R>(cx, asker.seq, &result);
            });
        });
    }
}
