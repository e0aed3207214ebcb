//! The commands of the prompt, and their completion.

use clap::CommandFactory;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::options::Line;

/// Verbs that only the prompt has. They are not part of the grammar.
const PROMPT_ONLY: [&str; 3] = ["help", "quit", "q"];

/// Verbs for the command line. Help and completion of the prompt do not show them.
const SHELL_ONLY: [&str; 8] = ["bench", "chat", "dump", "restore", "ls", "top", "completions", "manual"];

/// The grammar of a line at the prompt. Verbs for the command line are hidden in it.
pub(super) fn grammar() -> clap::Command {
    SHELL_ONLY
        .into_iter()
        .fold(Line::command(), |line, verb| line.mut_subcommand(verb, |verb| verb.hide(true)))
}

/// The verbs that the prompt shows.
pub(super) fn verbs() -> Vec<String> {
    let grammar = grammar();
    let visible = grammar.get_subcommands().filter(|verb| !verb.is_hide_set());
    visible.map(|verb| verb.get_name().to_owned()).chain(PROMPT_ONLY.map(str::to_owned)).collect()
}

/// The options of a verb.
fn options_of(verb: &str) -> Vec<String> {
    let line = Line::command();
    let Some(verb) = line.find_subcommand(verb) else { return Vec::new() };
    verb.get_arguments().filter_map(|argument| Some(format!("--{}", argument.get_long()?))).collect()
}

/// Completes verbs, the options of a verb, and the tables of `stat`.
pub(super) struct Completions;

impl Completer for Completions {
    type Candidate = String;

    fn complete(&self, line: &str, cursor: usize, _: &Context) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..cursor];
        let start = typed.rfind(' ').map_or(0, |space| space + 1);
        let candidates = match typed[..start].split_whitespace().next() {
            None => verbs(),
            Some("stat") if !typed[start..].starts_with('-') => {
                ["conns", "locks", "names"].map(str::to_owned).to_vec()
            }
            Some(verb) => options_of(verb),
        };
        let matching = candidates.into_iter().filter(|candidate| candidate.starts_with(&typed[start..]));
        Ok((start, matching.map(|candidate| candidate + " ").collect()))
    }
}

impl Hinter for Completions {
    type Hint = String;
}

impl Highlighter for Completions {}
impl Validator for Completions {}
impl Helper for Completions {}

#[cfg(test)]
mod tests {
    use rustyline::history::FileHistory;

    use super::*;

    #[test]
    fn verbs_options_and_tables_are_completed() {
        let history = FileHistory::new();
        let complete = |line: &str| {
            Completions.complete(line, line.len(), &Context::new(&history)).expect("candidates").1.join("")
        };
        assert_eq!(complete("re"), "read ");
        assert_eq!(complete("u"), "unlock ");
        assert_eq!((complete("do"), complete("bac")), ("done ".to_owned(), "back ".to_owned()));
        assert_eq!(complete("take 3 --t"), "--ttl ");
        assert_eq!(complete("na"), "name ");
        assert_eq!(complete("write 3 --i"), "--if ");
        assert_eq!(complete("stat "), "conns locks names ");
        assert_eq!(complete("nonsense --"), "");
        assert!(!verbs().contains(&"top".to_owned()));
    }
}
