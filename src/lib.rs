//! campana: a callback reactor in the tradition of muduo.
pub mod socket;
