//! The tokens, signed before anything is measured.

use std::path::{Path, PathBuf};
use std::{fs, thread};

use serde_json::json;

use crate::Result;
use crate::plan::Load;
use crate::support::tenant::Tenant;
use crate::support::token::{SUBJECT, Token};

/// So many that a cache of 1,024 has forgotten each before it comes again.
const COLD: usize = 20_000;
/// So many that they fit a cache of 1,024.
const MANY: usize = 1_000;

/// Tokens in files, one a line, and some to check the servers with.
#[derive(Debug)]
pub struct Tokens {
    folder: PathBuf,
    pub good: String,
    /// Without the permission to read the admin's message.
    pub unprivileged: String,
    pub expired: String,
    pub forged: String,
}

impl Tokens {
    /// Signs them with the tenant's key and writes them into this folder.
    pub fn make(tenant: &Tenant, folder: &Path) -> Result<Tokens> {
        let good = token(tenant, 0).sign();
        let (signed, signature) = good.rsplit_once('.').expect("a token has three parts");
        let other = token(tenant, 1).sign();
        let (other_signed, _) = other.rsplit_once('.').expect("a token has three parts");
        assert_ne!(signed, other_signed);
        let tokens = Tokens {
            folder: folder.to_owned(),
            forged: format!("{other_signed}.{signature}"),
            expired: token(tenant, 0).expired().sign(),
            unprivileged: Token::user(tenant).sign(),
            good,
        };
        tokens.write(Load::Warm, std::slice::from_ref(&tokens.good))?;
        tokens.write(Load::Many, &sign(tenant, 1, MANY))?;
        tokens.write(Load::Cold, &sign(tenant, 1 + MANY, COLD))?;
        Ok(tokens)
    }

    /// The file with the tokens of this load.
    pub fn file(&self, load: Load) -> Option<PathBuf> {
        match load {
            Load::Public | Load::FullHandshakes | Load::ResumedHandshakes => None,
            Load::Warm | Load::Many | Load::Cold => {
                Some(self.folder.join(load.name()).with_extension("txt"))
            }
        }
    }

    fn write(&self, load: Load, tokens: &[String]) -> Result<()> {
        let file = self.file(load).expect("only a load with tokens is written");
        fs::write(&file, tokens.join("\n") + "\n")
            .map_err(|error| format!("{}: {error}", file.display()))
    }
}

/// Signs `count` tokens on all cores.
fn sign(tenant: &Tenant, first: usize, count: usize) -> Vec<String> {
    let parts = thread::available_parallelism().map_or(1, usize::from);
    let numbers: Vec<usize> = (first..first + count).collect();
    thread::scope(|scope| {
        let sign = |number: &usize| token(tenant, *number).sign();
        let signers: Vec<_> = numbers
            .chunks(count.div_ceil(parts))
            .map(|part| scope.spawn(move || part.iter().map(sign).collect::<Vec<_>>()))
            .collect();
        let signed = signers.into_iter().flat_map(|signer| signer.join());
        signed.flatten().collect()
    })
}

/// A different token for each number, with the usual length of Auth0's tokens.
fn token(tenant: &Tenant, number: usize) -> Token {
    let start = SUBJECT.len() - 8;
    Token::user(tenant)
        .admin()
        .claim("sub", json!(format!("{}{number:08x}", &SUBJECT[..start])))
}
