//! A wall clock for one server, set by a library that is preloaded into it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

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
        let program = fs::read(binary()).unwrap();
        let names: [&[u8]; 2] = [b"/lib64/ld-linux", b"/lib/ld-linux"];
        let has = |name: &[u8]| program.windows(name.len()).any(|part| part == name);
        if !names.into_iter().any(has) {
            eprintln!("not tried: {} is static", binary().display());
            return None;
        }
        let dir = TempDir::new();
        let library = dir.path().join("clock.so");
        let source = dir.path().join("clock.c");
        fs::write(&source, include_str!("clock.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
        let status = compiler.arg(&library).arg(&source).status();
        assert!(status.is_ok_and(|status| status.success()), "{compiler:?}");
        let clock = WallClock { dir, library };
        clock.jump(0);
        Some(clock)
    }

    /// Sets how many seconds the clock is off from now on.
    pub fn jump(&self, offset: i64) {
        let [file, new] = ["offset", "offset.new"].map(|name| self.dir.path().join(name));
        fs::write(&new, offset.to_string()).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// Makes the server use this clock.
    pub fn rule(&self, builder: Builder) -> Builder {
        let offset = self.dir.path().join("offset");
        builder
            .env("LD_PRELOAD", self.library.display().to_string())
            .env("CLOCK_OFFSET_FILE", offset.display().to_string())
    }
}
