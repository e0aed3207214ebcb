//! The names that Rust source defines, found by a scan of its tokens. The scan knows no types and expands no
//! macros.

use std::collections::{BTreeMap, BTreeSet};

use super::document::is_identifier;

/// Names that Rust source defines.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// All names of items, fields and variants.
    names: BTreeSet<String>,
    /// For each type its methods, fields, variants and constants.
    members: BTreeMap<String, BTreeSet<String>>,
    /// Crates of the workspace, as Rust spells them.
    pub crates: BTreeSet<String>,
    /// For each module the items in it and below it.
    items: BTreeMap<String, BTreeSet<String>>,
    /// Words in string literals. A name of `stat` or of an environment variable is one.
    texts: BTreeSet<String>,
}

impl Source {
    /// Whether a name is defined. The last segment of a path must belong to the one before it.
    pub(crate) fn defines(&self, path: &[String]) -> bool {
        match path {
            [] => false,
            [single] => {
                let may_be_text = single.starts_with("DIPC_") || !single.contains(|c: char| c.is_uppercase());
                self.names.contains(single) || may_be_text && self.texts.contains(single)
            }
            _ => path.windows(2).all(|pair| self.has(&pair[0], &pair[1])),
        }
    }

    /// Whether `name` is a member of a type, or is in a module or crate, called `owner`.
    fn has(&self, owner: &str, name: &str) -> bool {
        let is_in = |map: &BTreeMap<String, BTreeSet<String>>| {
            map.get(owner).is_some_and(|members| members.contains(name))
        };
        let in_crate = self.crates.contains(owner) && self.names.contains(name);
        is_in(&self.members) || is_in(&self.items) || in_crate
    }

    pub(crate) fn add(&mut self, modules: &[String], text: &str) {
        let mut parents: Vec<String> = Vec::new();
        for module in modules {
            self.define(&parents, module);
            parents.push(module.clone());
        }
        let tokens = self.tokens(text);
        self.scan(&parents, &tokens);
    }

    /// Records an item of the innermost of these nested modules. It counts as an item of each of them.
    fn define(&mut self, modules: &[String], name: &str) {
        self.names.insert(name.to_owned());
        for module in modules {
            self.items.entry(module.clone()).or_default().insert(name.to_owned());
        }
    }

    fn define_member(&mut self, owner: &str, name: &str) {
        self.names.insert(name.to_owned());
        self.members.entry(owner.to_owned()).or_default().insert(name.to_owned());
    }

    /// Words and punctuation, without comments. The words of string literals are kept in `texts`.
    fn tokens<'a>(&mut self, text: &'a str) -> Vec<&'a str> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let len = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |at| at + 2)
            } else if let Some((start, end, len)) = string_literal(rest) {
                let words = rest[start..end].split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                self.texts.extend(words.map(str::to_owned));
                len
            } else if first == '\'' {
                quote_length(rest)
            } else if first.is_ascii_alphanumeric() || first == '_' {
                let len = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                tokens.push(&rest[..len]);
                len
            } else if rest.starts_with("::") || rest.starts_with("->") || rest.starts_with("=>") {
                tokens.push(&rest[..2]);
                2
            } else {
                if !first.is_whitespace() {
                    tokens.push(&rest[..first.len_utf8()]);
                }
                first.len_utf8()
            };
            rest = &rest[len..];
        }
        tokens
    }

    /// Finds the definitions in the tokens of one file.
    fn scan(&mut self, modules: &[String], tokens: &[&str]) {
        let mut modules = modules.to_vec();
        let mut scopes: Vec<Scope> = Vec::new();
        let mut pending: Option<Scope> = None;
        for (at, &token) in tokens.iter().enumerate() {
            let before = if at > 0 { tokens[at - 1] } else { ";" };
            let next = tokens.get(at + 1).copied().unwrap_or_default();
            let owner = scopes.last().and_then(Scope::owner).map(str::to_owned);
            match token {
                "struct" | "union" | "enum" | "trait" if is_identifier(next) => {
                    self.define(&modules, next);
                    let name = next.to_owned();
                    pending = Some(if token == "trait" { Scope::Methods(name) } else { Scope::Fields(name) });
                }
                "impl" if [";", "{", "}", "]", "unsafe"].contains(&before) => {
                    pending = implemented(&tokens[at + 1..]).map(Scope::Methods);
                }
                "mod" if is_identifier(next) => {
                    self.define(&modules, next);
                    pending = Some(Scope::Module(next.to_owned()));
                }
                "fn" | "const" | "static" | "type" if is_identifier(next) && before != "*" => {
                    match (scopes.last(), &owner) {
                        (Some(Scope::Methods(_)), Some(owner)) => self.define_member(owner, next),
                        _ => self.define(&modules, next),
                    }
                    if token == "fn" {
                        pending = Some(Scope::Other);
                    }
                }
                "macro_rules" => {
                    self.define(&modules, tokens.get(at + 2).copied().unwrap_or_default());
                }
                "{" => {
                    let scope = match (pending.take(), scopes.last()) {
                        (Some(scope), _) => scope,
                        // The fields of a variant.
                        (None, Some(Scope::Fields(owner))) => Scope::Fields(owner.clone()),
                        _ => Scope::Other,
                    };
                    if let Scope::Module(name) = &scope {
                        modules.push(name.clone());
                    }
                    scopes.push(scope);
                }
                "}" => {
                    if let Some(Scope::Module(_)) = scopes.pop() {
                        modules.pop();
                    }
                }
                ";" => pending = None,
                _ => {
                    let begins = ["{", ",", "]", "pub", ")"].contains(&before);
                    let is_field = next == ":" || token.starts_with(|c: char| c.is_ascii_uppercase());
                    let is_member = begins && is_field && is_identifier(token);
                    if let (true, Some(Scope::Fields(owner)), None) = (is_member, scopes.last(), &pending) {
                        let owner = owner.clone();
                        self.define_member(&owner, token);
                    }
                }
            }
        }
    }
}

/// What a pair of braces encloses.
#[derive(Clone, Debug, PartialEq)]
enum Scope {
    /// Fields or variants of a type.
    Fields(String),
    /// Methods and constants of a type.
    Methods(String),
    Module(String),
    /// A body, an expression.
    Other,
}

impl Scope {
    fn owner(&self) -> Option<&str> {
        match self {
            Scope::Fields(name) | Scope::Methods(name) => Some(name),
            Scope::Module(_) | Scope::Other => None,
        }
    }
}

/// The type of an `impl`, from the tokens behind it: the last segment before its own generics.
fn implemented(tokens: &[&str]) -> Option<String> {
    let mut depth = 0;
    let mut name = None;
    for &token in tokens {
        match token {
            "<" => depth += 1,
            ">" => depth -= 1,
            "{" | "where" | ";" if depth == 0 => break,
            "for" if depth == 0 => name = None,
            _ if depth == 0 && is_identifier(token) && token != "dyn" && token != "mut" => name = Some(token),
            _ => {}
        }
    }
    name.map(str::to_owned)
}

/// The string literal at the start of `rest`: where its content begins and ends, and its whole length.
fn string_literal(rest: &str) -> Option<(usize, usize, usize)> {
    let prefix = rest.find('"').filter(|&at| at <= 10)?;
    let (letters, hashes) = rest[..prefix].split_at(rest[..prefix].find('#').unwrap_or(prefix));
    if !["", "b", "c", "r", "br", "cr"].contains(&letters) || !hashes.chars().all(|c| c == '#') {
        return None;
    }
    let start = prefix + 1;
    if letters.ends_with('r') {
        let end = rest[start..].find(&format!("\"{hashes}")).map_or(rest.len(), |at| start + at);
        return Some((start, end, (end + 1 + hashes.len()).min(rest.len())));
    }
    let mut is_escaped = false;
    for (at, c) in rest[start..].char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return hashes.is_empty().then_some((start, start + at, start + at + 1)),
            _ => {}
        }
    }
    None
}

/// The length of the token that begins with `'`: a character literal, or only the `'` of a lifetime.
fn quote_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let escaped = rest[1..].starts_with('\\');
    match chars.nth(usize::from(escaped)) {
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            // `'\x7f'`, `'\u{1f600}'`
            Some(_) if escaped => rest[2..].find('\'').map_or(1, |at| at + 3),
            _ => 1,
        },
        None => 1,
    }
}
