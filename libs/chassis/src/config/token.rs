//! Tokens that open the door: known by what is left of them in memory, their digests.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::NotAllowed;

/// More tokens than this are a mistake: each is compared with at every request.
const MAX_TOKENS: usize = 100;
/// The longest token, in bytes; a client's headers have a bound, too.
const MAX_TOKEN_BYTES: usize = 512;
/// Shorter than this, in bytes, a token can be guessed; 16 random letters and digits cannot.
const GOOD_TOKEN_BYTES: usize = 16;
/// The longest file with tokens, in bytes: a wrong file must not fill the memory.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// What the ids of tokens are derived in, as UUIDv5 has it.
const TOKENS: Uuid = Uuid::from_u128(0x6562_7300_0000_5000_8000_0074_6f6b_656e);

/// A token: not its text, which nothing can then show.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    digest: [u8; 32],
    is_short: bool,
}

impl Token {
    fn new(text: &str) -> Self {
        Self { digest: Sha256::digest(text.as_bytes()).into(), is_short: text.len() < GOOD_TOKEN_BYTES }
    }

    /// Whether it can be guessed.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Names whoever has it, without telling it.
    fn id(&self) -> Uuid {
        Uuid::new_v5(&TOKENS, &self.digest)
    }
}

/// Who has shown the token `shown`: nobody, if it is none of `tokens`. All are compared with, and each in the same time
/// wherever it differs, so that the time tells nothing of them.
pub(crate) fn owner<'a>(tokens: impl Iterator<Item = &'a Token>, shown: &[u8]) -> Option<Uuid> {
    let shown: [u8; 32] = Sha256::digest(shown).into();
    tokens.fold(None, |owner, token| if bool::from(token.digest.ct_eq(&shown)) { Some(token.id()) } else { owner })
}

/// `API_TOKEN`: tokens between commas.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

impl Tokens {
    fn read<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, NotAllowed> {
        let mut tokens = Vec::new();
        for text in texts.map(str::trim) {
            let fits = (1..=MAX_TOKEN_BYTES).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
            if !fits || tokens.len() == MAX_TOKENS {
                return Err(NotAllowed::new(format!(
                    "expected 1 to {MAX_TOKENS} tokens of 1 to {MAX_TOKEN_BYTES} visible ASCII characters without commas"
                )));
            }
            tokens.push(Token::new(text));
        }
        Ok(Self(tokens))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Token> {
        self.0.iter()
    }
}

impl FromStr for Tokens {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        Self::read(text.split(','))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

/// `API_TOKEN_FILE`: a file with a token a line, and what stood in it when it was read.
#[derive(Clone, Debug)]
pub struct TokenFile {
    path: PathBuf,
    tokens: Tokens,
}

impl TokenFile {
    /// What stood in it at first.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// What stands in it now.
    pub(crate) fn read_again(&self) -> Result<Tokens, NotAllowed> {
        read(&self.path)
    }
}

impl FromStr for TokenFile {
    type Err = NotAllowed;

    fn from_str(path: &str) -> Result<Self, NotAllowed> {
        let path = PathBuf::from(path);
        Ok(Self { tokens: read(&path)?, path })
    }
}

/// The error does not name the file, whose name may be a token that somebody put into the wrong variable.
fn read(file: &Path) -> Result<Tokens, NotAllowed> {
    let unreadable = |error: io::Error| NotAllowed::new(format!("expected a file that can be read: {error}"));
    let mut text = String::new();
    let bytes = File::open(file).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    if bytes.map_err(unreadable)? as u64 > MAX_FILE_BYTES {
        return Err(NotAllowed::new("expected a file of at most 64 KiB"));
    }
    let tokens = Tokens::read(text.lines().filter(|line| !line.trim().is_empty()))?;
    // An empty file must not mean that there is no door.
    if tokens.0.is_empty() {
        Err(NotAllowed::new("expected a file with a token a line, not an empty one"))
    } else {
        Ok(tokens)
    }
}

crate::deserialize_by_parsing!(Tokens, TokenFile);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn who(tokens: &str, shown: &str) -> Option<Uuid> {
        owner(tokens.parse::<Tokens>().unwrap().iter(), shown.as_bytes())
    }

    #[test]
    fn each_of_several_tokens_is_somebody_and_nothing_else_is_anybody() {
        let first = who("first, second", "first").unwrap();
        let second = who("first,second", "second").unwrap();
        assert_ne!(first, second);
        assert_eq!(who("third,first", "first"), Some(first), "whoever shows a token is the same wherever it stands");
        for wrong in ["", "firs", "first2", "FIRST", "first,second", " first"] {
            assert_eq!(who("first,second", wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_tokens_is_refused_without_being_repeated() {
        let (long, many) = ("s3cret".repeat(100), vec!["s3cret"; 101].join(","));
        for text in ["", ",", "s3cret,", "s3cret,,s3cret", "s3cret s3cret", "s3crét", "s3cret\u{7f}", &long, &many] {
            let error = text.parse::<Tokens>().unwrap_err().to_string();
            assert!(error.contains("visible") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_file_has_a_token_a_line_and_is_never_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let load = || path.to_str().unwrap().parse::<TokenFile>();
        assert!(load().is_err());
        std::fs::write(&path, "\r\n first \r\n\nsecond").unwrap();
        let file = load().unwrap();
        assert_eq!(file.tokens(), &"first,second".parse().unwrap());
        for bad in ["", "\n \n", "first,second", &"x".repeat(70_000)] {
            std::fs::write(&path, bad).unwrap();
            let error = file.read_again().unwrap_err().to_string();
            assert!(!error.contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn tokens_do_not_show() {
        let tokens: Tokens = "swordfish".parse().unwrap();
        assert_eq!(format!("{tokens:?}"), "Tokens(1)");
    }
}
