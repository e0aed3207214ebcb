//! The arguments of `dump` and `restore`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::arguments::Wait;
use super::number;

#[derive(Debug, Args)]
pub(crate) struct DumpOptions {
    /// The file; - is standard output
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreOptions {
    /// The file; - is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    #[command(flatten)]
    pub selection: Selection,
}

/// The mailboxes that are dumped or restored.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only these mailboxes [default: all]
    #[arg(long = "box", value_name = "N[,N..]", num_args = 1, value_delimiter = ',',
          value_parser = number::dumped_mailbox)]
    numbers: Vec<u32>,
}

impl Selection {
    pub(crate) fn contains(&self, number: u32) -> bool {
        self.numbers.is_empty() || self.numbers.contains(&number)
    }

    /// The selected mailboxes in ascending order, without repetitions. `mailboxes`: how many the server has.
    pub(crate) fn numbers(&self, mailboxes: u32) -> Vec<u32> {
        if self.numbers.is_empty() {
            return (0..mailboxes).collect();
        }
        let mut numbers = self.numbers.clone();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}
