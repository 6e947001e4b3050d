//! A line typed at a terminal that does not show it.
//!
//! The terminal hands over each byte at once: in its other mode, a line is cut at 4095 bytes, and
//! tokens with many permissions are longer.

use std::io::{self, Read, Stdin, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// The control character that ends the input at the beginning of a line (`^D`).
const END: u8 = 0x04;
/// What the keys for "delete the last character" send.
const DELETE: [u8; 2] = [0x08, 0x7f];
/// The control character that deletes the line (`^U`).
const DELETE_LINE: u8 = 0x15;

/// Asks for a line on standard error, and reads it: at most `most` bytes.
pub(super) fn read_line(stdin: &Stdin, most: usize) -> io::Result<Vec<u8>> {
    let silence = Silence::begin(stdin)?;
    let _ = write!(
        io::stderr(),
        "Paste the token and press Enter (it is not shown): "
    );
    let line = read_bytes(&mut stdin.lock(), most);
    drop(silence);
    let _ = writeln!(io::stderr());
    line
}

fn read_bytes(terminal: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < most {
        match terminal.read(&mut byte) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        match byte[0] {
            b'\n' | b'\r' | END => break,
            DELETE_LINE => line.clear(),
            key if DELETE.contains(&key) => drop(line.pop()),
            other => line.push(other),
        }
    }
    Ok(line)
}

/// The time in which a terminal does not show what is typed. Its end restores the terminal, and so
/// does a signal that ends or stops the process.
struct Silence {
    before: Termios,
    is_silent: Arc<AtomicBool>,
}

impl Silence {
    fn begin(terminal: &Stdin) -> io::Result<Silence> {
        let before = tcgetattr(terminal.as_fd())?;
        let mut silent = before.clone();
        silent.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON);
        // A read returns as soon as there is a byte.
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        let is_silent = Arc::new(AtomicBool::new(true));
        // Before the terminal changes, so that no signal comes too early.
        watch_signals(before.clone(), silent.clone(), Arc::clone(&is_silent))?;
        set(&silent);
        Ok(Silence { before, is_silent })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.is_silent.store(false, Ordering::SeqCst);
        set(&self.before);
    }
}

/// Starts a thread that restores the terminal, if it is silent, before a signal does what it does
/// by default. It runs as long as the process: once caught, a signal no longer has its default.
fn watch_signals(before: Termios, silent: Termios, is_silent: Arc<AtomicBool>) -> io::Result<()> {
    let mut caught = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP])?;
    let watch = move || {
        for signal in caught.forever() {
            if is_silent.load(Ordering::SeqCst) {
                set(&before);
            }
            // It returns after a stop only.
            let _ = emulate_default_handler(signal);
            if is_silent.load(Ordering::SeqCst) {
                set(&silent);
            }
        }
    };
    let thread = thread::Builder::new().name("terminal".into());
    thread.spawn(watch).map(drop)
}

/// What has been typed and not been read stays.
fn set(modes: &Termios) {
    // If the terminal is gone, nothing is shown either.
    let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, modes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_enter_and_can_be_corrected() {
        const MOST: usize = 64 * 1024 + 1;
        for (typed, line) in [
            ("a.b.c\n", "a.b.c"),
            ("a.b.c\rmore", "a.b.c"),
            ("a.b\x7f\x08.c\n", "a.c"),
            ("wrong\x15right\n", "right"),
            ("\x7fa\x04b", "a"),
            ("a", "a"),
            ("", ""),
        ] {
            let read = read_bytes(&mut typed.as_bytes(), MOST).unwrap();
            assert_eq!(read, line.as_bytes(), "{typed:?}");
        }
        let long = vec![b'a'; 3 * MOST];
        assert_eq!(read_bytes(&mut &*long, MOST).unwrap().len(), MOST);
    }
}
