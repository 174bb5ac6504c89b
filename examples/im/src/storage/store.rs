//! What an operation gets to work with.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Params, Row};

use super::StoreError;
use crate::protocol::UserId;

/// The database inside a transaction. What it can be asked for is in the files beside this one.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    pub(super) connection: &'a Connection,
    /// The transaction's time in milliseconds since 1970; never less than that of an earlier one.
    pub(super) now: i64,
    pub(super) members: &'a MemberCache,
}

impl Store<'_> {
    /// The time of what is being stored, in milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)?)
    }

    /// The only row, or nothing.
    pub(super) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        Ok(rows.next()?.map(read).transpose()?)
    }

    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A number that a query always gives: a count, a maximum.
    pub(super) fn number(&self, sql: &str, params: impl Params) -> Result<i64, StoreError> {
        Ok(self.row(sql, params, |row| row.get::<_, Option<i64>>(0))?.flatten().unwrap_or(0))
    }
}

/// The members of the groups that were written to lately. Belongs to the writing thread.
#[derive(Debug, Default)]
pub(super) struct MemberCache(RefCell<HashMap<i64, Arc<[UserId]>>>);

impl MemberCache {
    /// How many groups are remembered.
    const GROUPS: usize = 1024;

    pub(super) fn get(&self, group: i64) -> Option<Arc<[UserId]>> {
        self.0.borrow().get(&group).cloned()
    }

    pub(super) fn insert(&self, group: i64, members: Arc<[UserId]>) {
        let mut groups = self.0.borrow_mut();
        if groups.len() >= Self::GROUPS {
            groups.clear();
        }
        groups.insert(group, members);
    }

    pub(super) fn remove(&self, group: i64) {
        self.0.borrow_mut().remove(&group);
    }

    /// After a transaction was rolled back, of which things may have been read that are not so.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
