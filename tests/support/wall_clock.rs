//! A wall clock for one server, set by a library that is preloaded into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::TempDir;
use super::postern::{Builder, binary};

/// The wall clock of one server.
pub struct WallClock {
    dir: TempDir,
    library: PathBuf,
}

impl WallClock {
    /// A correct clock. `None` if the server is a static binary, which loads no libraries; its code
    /// is the same.
    pub fn new() -> Option<WallClock> {
        let clock = WallClock::of(&binary()).unwrap_or_else(|error| panic!("{error}"));
        if clock.is_none() {
            eprintln!("not tried: {} is static", binary().display());
        }
        clock
    }

    /// A correct clock for servers of this program; `None` if it is static.
    ///
    /// # Errors
    /// Why the library cannot be compiled.
    pub fn of(program: &Path) -> Result<Option<WallClock>, String> {
        if is_static(program) {
            return Ok(None);
        }
        let dir = TempDir::new();
        let library = dir.path().join("clock.so");
        let source = dir.path().join("clock.c");
        fs::write(&source, include_str!("clock.c")).expect("the temporary folder takes a file");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
        compiler.arg(&library).arg(&source).stdin(Stdio::null());
        match compiler.status() {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("cc: {status}")),
            Err(error) => return Err(format!("cc: {error}")),
        }
        let clock = WallClock { dir, library };
        clock.jump(0);
        Ok(Some(clock))
    }

    /// Sets how many seconds the clock is off from now on.
    pub fn jump(&self, offset: i64) {
        let [file, new] = ["offset", "offset.new"].map(|name| self.dir.path().join(name));
        fs::write(&new, offset.to_string()).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// The environment of a server with this clock.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        let offset = self.dir.path().join("offset");
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("CLOCK_OFFSET_FILE", offset.display().to_string()),
        ]
    }

    /// Makes the server use this clock.
    pub fn rule(&self, builder: Builder) -> Builder {
        let variables = self.variables().into_iter();
        variables.fold(builder, |builder, (name, value)| builder.env(name, value))
    }
}

fn is_static(program: &Path) -> bool {
    let bytes = fs::read(program).unwrap();
    let names: [&[u8]; 2] = [b"/lib64/ld-linux", b"/lib/ld-linux"];
    let has = |name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
    !names.into_iter().any(has)
}
