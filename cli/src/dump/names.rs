//! The names of the mailboxes of a server.

use std::collections::HashMap;

use super::pipeline::Pipeline;
use crate::failure::Failure;

/// The names and the numbers of their mailboxes. A name belongs to one mailbox, and a mailbox has one name,
/// also if names change between the parts of the answer.
#[derive(Default)]
pub(crate) struct Names {
    by_name: HashMap<String, u32>,
    by_number: HashMap<u32, String>,
}

impl Names {
    /// Asks for all names. A server without names has none.
    pub(crate) fn read(pipeline: &mut Pipeline, features: &[String]) -> Result<Self, Failure> {
        let mut names = Names::default();
        let mut from = features.iter().any(|feature| feature == "names").then_some(0);
        while let Some(part) = from {
            pipeline.request(format_args!("stat names from={part}"))?;
            let (answer, text) = pipeline.text()?;
            if answer.len().is_none() {
                return Err(answer.failure("stat names"));
            }
            for (number, name) in text.lines().filter_map(|line| line.split_once(' ')) {
                number.parse().into_iter().for_each(|number| names.insert(number, name.to_owned()));
            }
            from = answer.number("more");
        }
        Ok(names)
    }

    fn insert(&mut self, number: u32, name: String) {
        if let Some(former) = self.by_name.insert(name.clone(), number) {
            self.by_number.remove(&former);
        }
        if let Some(former) = self.by_number.insert(number, name) {
            self.by_name.remove(&former);
        }
    }

    pub(crate) fn of(&self, number: u32) -> Option<&str> {
        self.by_number.get(&number).map(String::as_str)
    }

    /// The mailbox with this name.
    pub(crate) fn owner(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }
}
