//! Tokens and what they allow, from a file of lines `ROLE NAME TOKEN`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::text::is_hidden;

/// Least length of a token, in bytes: nobody guesses as much.
pub const MIN_TOKEN_BYTES: usize = 20;

/// What stands in place of the token of somebody who has none, and is let in by a proxy.
const NO_TOKEN: &str = "-";

/// What a caller may do. Each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Retry, pause, resume, release, push.
    Operator,
    /// Delete.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            _ => Err(format!("no such role: {text:?}; there are viewer, operator, admin")),
        }
    }
}

/// The tokens of a file.
#[derive(Default)]
pub struct Tokens(Vec<Token>);

/// A token: who has it, and what they may. The token itself is not kept.
pub(super) struct Token {
    pub(super) name: String,
    pub(super) role: Role,
    /// SHA-256 of the token: what is compared, so that the time it takes tells nothing about the token. None: this person
    /// comes by a proxy alone.
    pub(super) digest: Option<[u8; 32]>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|token| &token.name)).finish()
    }
}

impl Tokens {
    /// Reads lines of role, name and token, or `-` for none. Empty lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// When a line is something else, a token is too short, or there is none. The message does not quote the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::<Token>::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: String| format!("line {number}: {why}");
            let words: Vec<_> = line.split_whitespace().collect();
            let [role, name, token] = words[..] else {
                return Err(wrong("write it like: operator ana TOKEN".to_owned()));
            };
            let has_token = token != NO_TOKEN;
            if has_token && token.len() < MIN_TOKEN_BYTES {
                return Err(wrong(format!("a token has at least {MIN_TOKEN_BYTES} characters")));
            }
            if name.contains(is_hidden) || tokens.iter().any(|token| token.name == name) {
                return Err(wrong("a name has no hidden characters, and occurs once".to_owned()));
            }
            tokens.push(Token {
                name: name.to_owned(),
                role: role.parse().map_err(wrong)?,
                digest: has_token.then(|| Sha256::digest(token).into()),
            });
        }
        if tokens.is_empty() {
            return Err("no token".to_owned());
        }
        Ok(Self(tokens))
    }

    /// What is known of a token.
    pub(super) fn of(&self, token: &str) -> Option<&Token> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.0.iter().find(|token| token.digest == Some(digest))
    }

    /// The token that somebody of this name has.
    pub(super) fn named(&self, name: &str) -> Option<&Token> {
        self.0.iter().find(|token| token.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tokens_is_read_and_what_is_wrong_is_told_without_the_token() {
        let tokens =
            Tokens::parse("# people\nadmin ana 0123456789abcdefghij\n\n viewer wall\tzyxwvutsrqponmlkjihg\noperator olaf@example.com -\n").unwrap();
        let ana = tokens.of("0123456789abcdefghij").unwrap();
        assert_eq!((ana.name.as_str(), ana.role), ("ana", Role::Admin));
        assert_eq!(tokens.named("wall").unwrap().role, Role::Viewer);
        assert!(tokens.of("0123456789abcdefghi").is_none() && tokens.of("-").is_none());
        assert_eq!(tokens.named("olaf@example.com").unwrap().role, Role::Operator);
        for (text, why) in [
            ("", "no token"),
            ("admin ana short", "line 1: a token has at least 20 characters"),
            (
                "\nroot ana 0123456789abcdefghij",
                "line 2: no such role: \"root\"; there are viewer, operator, admin",
            ),
            ("0123456789abcdefghij", "line 1: write it like: operator ana TOKEN"),
        ] {
            assert_eq!(Tokens::parse(text).unwrap_err(), why);
        }
        assert_eq!(format!("{tokens:?}"), r#"["ana", "wall", "olaf@example.com"]"#);
    }

    #[test]
    fn a_role_may_what_those_below_it_may() {
        assert!(Role::Admin > Role::Operator && Role::Operator > Role::Viewer);
    }
}
