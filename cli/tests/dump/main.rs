//! `dump` and `restore`, with real servers.

mod contents;
mod damage;
mod interruption;
mod pages;
mod refusal;
mod round_trip;
mod under_load;
