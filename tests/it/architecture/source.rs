//! The sources as text, read closely enough to tell who names whom.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A source file's production code.
pub struct Source {
    /// Its path below the package, with slashes.
    pub path: String,
    /// The modules that lead to it: `src/lnd/node.rs` is `["lnd", "node"]`.
    pub modules: Vec<String>,
    /// Its code as tokens, without comments, strings, and tests.
    pub tokens: Vec<Token>,
    /// How many lines of code it has: neither blank nor comment nor test.
    pub lines: usize,
    /// Whether all of it is test code.
    pub is_test: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Name(String),
    Path,
    Other(char),
}

impl Source {
    pub fn of(path: &str, text: &str, is_test: bool) -> Self {
        let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let bare = without_comments_and_strings(production);
        let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
        let mut modules: Vec<String> = inner.split('/').map(Into::into).collect();
        if matches!(modules.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            modules.pop();
        }
        Self {
            path: path.into(),
            modules,
            tokens: tokens(&bare),
            lines: bare.lines().filter(|line| !line.trim().is_empty()).count(),
            is_test,
        }
    }

    /// The part of the library that it belongs to; `bin` for the programs.
    pub fn part(&self) -> &str {
        self.modules.first().map_or("", String::as_str)
    }

    pub fn names(&self, name: &str) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Name(one) if one == name))
    }

    /// Whether a method of that name is called.
    pub fn calls(&self, method: &str) -> bool {
        self.tokens.windows(2).any(|two| two == [Token::Other('.'), Token::Name(method.into())])
    }

    /// What of the library's top level it names, by whatever path.
    pub fn imports(&self) -> BTreeSet<String> {
        let mut imports = BTreeSet::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let begun = at;
            at += 1;
            let root = match &self.tokens[begun] {
                Token::Name(name) if name == "crate" || name == "bondflow" => true,
                Token::Name(name) if name == "super" => {
                    let mut up = 1;
                    while self.tokens[at..].starts_with(&[Token::Path, Token::Name("super".into())]) {
                        at += 2;
                        up += 1;
                    }
                    up >= self.modules.len()
                }
                _ => false,
            };
            if root && self.tokens.get(at) == Some(&Token::Path) {
                imports.extend(first_names(&self.tokens[at + 1..]));
            }
        }
        imports
    }
}

/// The first name of each path that begins here: of one, or of each one in braces.
fn first_names(tokens: &[Token]) -> Vec<String> {
    match tokens.first() {
        Some(Token::Name(name)) => vec![name.clone()],
        Some(Token::Other('{')) => {
            let (mut names, mut depth) = (vec![], 0);
            for (at, token) in tokens.iter().enumerate() {
                match token {
                    Token::Other('{') => depth += 1,
                    Token::Other('}') => depth -= 1,
                    Token::Name(name) if depth == 1 && matches!(tokens[at - 1], Token::Other('{' | ',')) => {
                        names.push(name.clone());
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            names
        }
        _ => vec![],
    }
}

fn tokens(bare: &str) -> Vec<Token> {
    let mut tokens = vec![];
    let mut rest = bare.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_alphabetic() || c == '_' {
            let mut name = String::from(c);
            while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                name.push(c);
            }
            tokens.push(Token::Name(name));
        } else if c == ':' && rest.next_if_eq(&':').is_some() {
            tokens.push(Token::Path);
        } else if !c.is_whitespace() {
            tokens.push(Token::Other(c));
        }
    }
    tokens
}

/// Puts a blank in the place of comments and strings; lines stay lines.
fn without_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    let mut bare = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            while at < chars.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if !word && chars[at] == 'r' && (starts(at, "r\"") || starts(at, "r#\"")) {
            let end = if starts(at, "r#") { "\"#" } else { "\"" };
            at += 1 + end.len();
            while at < chars.len() && !starts(at, end) {
                bare.extend((chars[at] == '\n').then_some('\n'));
                at += 1;
            }
            at += end.len();
            bare.push('_');
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                bare.extend((chars[at] == '\n').then_some('\n'));
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            bare.push('_');
        } else if chars[at] == '\'' && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')) {
            at += if chars[at + 1] == '\\' { 3 } else { 2 };
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
            bare.push('_');
        } else {
            bare.push(chars[at]);
            at += 1;
        }
    }
    bare
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `src`.
pub fn sources() -> Vec<Source> {
    let mut files = vec![];
    collect(&root().join("src"), &mut files);
    files.sort();
    let texts: Vec<(String, String)> = files
        .into_iter()
        .map(|file| {
            let path = file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            (path, std::fs::read_to_string(file).unwrap())
        })
        .collect();
    let tests: Vec<String> = texts.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    let is_test = |path: &str| {
        path.ends_with("/tests.rs")
            || path.contains("/tests/")
            || tests.iter().any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")))
    };
    texts.iter().map(|(path, text)| Source::of(path, text, is_test(path))).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The modules that a file declares for tests only, as paths without an ending.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let folder = match path.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    text.split("#[cfg(test)]")
        .skip(1)
        .filter_map(|after| {
            let line = after.trim_start().lines().next()?;
            let declared = line.strip_suffix(';')?;
            Some(format!("{folder}/{}", declared.rsplit_once("mod ")?.1))
        })
        .collect()
}

#[test]
fn paths_are_seen_however_they_are_written() {
    let source = Source::of(
        "src/payout/debt/pay.rs",
        r##"
        // use crate::comment;
        use crate::{engine::{Run, store}, lnd as other};
        use super::super::super::nostr::wire;
        use super::super::books;
        fn f<'a>(text: &'a str) -> char { crate::sandbox::g("crate::text", r#"crate::raw"#, '"'); ::bondflow::app::h(); '\'' }
        macro_rules! m { () => { $crate::config::x() } }
        #[cfg(test)]
mod tests {
            use crate::store::memory;
        }"##,
        false,
    );
    let imports: Vec<String> = source.imports().into_iter().collect();
    assert_eq!(imports, ["app", "config", "engine", "lnd", "nostr", "sandbox"]);
    assert!(source.names("lnd") && !source.names("memory") && !source.calls("f"));
    assert!(Source::of("src/a.rs", "x.go(1)", false).calls("go"));
}

#[test]
fn modules_for_tests_are_found() {
    let declared = "#[cfg(test)]\nmod bench;\nmod node;\n#[cfg(test)]\npub(crate) mod faults;";
    assert_eq!(test_modules("src/lnd/mod.rs", declared), ["src/lnd/bench", "src/lnd/faults"]);
    assert_eq!(test_modules("src/lnd/node.rs", "#[cfg(test)]\nmod tests;"), ["src/lnd/node/tests"]);
}
