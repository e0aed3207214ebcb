//! An instance tells the truth about itself, also when its files, its descriptors or its peers are not as
//! usual.
#![allow(missing_docs)]

mod blocking;
mod control;
mod descriptors;
mod failed_start;
mod lost_names;
mod predecessor;
mod removal;
mod sweep;
mod tracer;
mod waiters;
