//! What is shown, without the terminal that shows it and without the server that it is about.

mod columns;
mod draw;
mod figures;
mod history;
mod keys;
mod layout;
mod reply;
mod state;
mod table;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use draw::draw;
pub(crate) use figures::{Dated, Sample};
pub(crate) use keys::Effect;
pub(crate) use reply::{Connections, Loops, Servers, Sessions};
pub(crate) use state::{Asked, News, Query, View};
