//! A booted Debian, and the machine beside it from which postern is installed there.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::wait_until_within;

/// How long a boot, a restart or a command may take: far more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `holds`, as long as a whole machine may take. `what` says what is waited for.
#[track_caller]
pub fn wait_for(what: &str, holds: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, holds);
}

/// A container with systemd as its process 1, on the network of this process.
pub struct Machine {
    root: PathBuf,
    container: Child,
    /// Its process 1, as it is numbered here.
    init: u32,
}

impl Machine {
    /// Boots the system in the folder `root`, and waits until all of it is up. What its console
    /// shows goes to `root.console`.
    pub fn boot(root: &Path) -> Machine {
        let console = File::create(root.with_extension("console")).expect("a file beside the root");
        let container = Command::new("systemd-nspawn")
            .args([
                "--register=no",
                "--keep-unit",
                "--link-journal=no",
                "--quiet",
                "--boot",
            ])
            .arg("--directory")
            .arg(root)
            .stdin(Stdio::null())
            .stderr(console.try_clone().expect("a second handle of a file"))
            .stdout(console)
            .spawn()
            .expect("systemd-nspawn is installed");
        let mut machine = Machine {
            root: root.to_owned(),
            container,
            init: 0,
        };
        wait_for("the system is up", || {
            machine.init = machine.find_init().unwrap_or_default();
            // It may have failed units of its own, which is `degraded`.
            machine.init != 0
                && ["running\n", "degraded\n"]
                    .contains(&text(machine.output("systemctl is-system-running")).as_str())
        });
        machine
    }

    fn find_init(&self) -> Option<u32> {
        let id = self.container.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Its `/`, as it sees it.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Runs a shell command in it.
    pub fn output(&self, command: &str) -> Output {
        Command::new("nsenter")
            .args([
                "--target",
                &self.init.to_string(),
                "--all",
                "sh",
                "-c",
                command,
            ])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .stdin(Stdio::null())
            .output()
            .expect("nsenter is installed")
    }

    /// Runs a shell command in it that has to succeed, and returns what it printed.
    #[track_caller]
    pub fn run(&self, command: &str) -> String {
        succeeded(command, self.output(command))
    }

    /// One property of the service.
    #[track_caller]
    pub fn show(&self, property: &str) -> String {
        let value = self.run(&format!("systemctl show -P {property} postern.service"));
        value.trim_end().to_owned()
    }

    /// Everything the service and its socket have said since the boot, messages only.
    pub fn journal(&self) -> String {
        self.run(
            "journalctl --boot --no-pager --output=cat --unit=postern.service \
             --unit=postern.socket",
        )
    }

    /// Switches it off, in order.
    pub fn power_off(mut self) {
        // The answer may be lost, the machine is going down.
        let _ = self.output("systemctl poweroff");
        wait_for("the machine is off", || {
            matches!(self.container.try_wait(), Ok(Some(_)))
        });
    }

    /// What is left to tell when something has failed.
    pub fn last_words(&self) -> String {
        let console = fs::read_to_string(self.root.with_extension("console"));
        let mut words = console.unwrap_or_default();
        for command in [
            "systemctl status --no-pager --full --lines=0 postern.service postern.socket",
            "journalctl --no-pager --priority=warning --lines=50",
            "journalctl --no-pager --lines=50",
        ] {
            let _ = writeln!(words, "\n$ {command}\n{}", text(self.output(command)));
        }
        words
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Nothing in it outlives the namespace that this process is the first one of.
        let _ = self.container.kill();
        let _ = self.container.wait();
    }
}

fn text(output: Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn succeeded(command: &str, output: Output) -> String {
    assert!(
        output.status.success(),
        "{command}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    text(output)
}

/// The user's own machine: a folder like a clone of postern with a binary built, and a way to the
/// booted one under the name that docs/operating.md gives it.
pub struct Desk {
    folder: PathBuf,
    manual: String,
}

impl Desk {
    /// Sets it up in `folder`, which is empty, for the system in `root`, which is not booted yet.
    pub fn new(folder: &Path, binary: &Path, root: &Path) -> Desk {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let desk = Desk {
            folder: folder.to_owned(),
            manual: fs::read_to_string(project.join("docs/operating.md"))
                .expect("the manual is there"),
        };
        let built = desk.folder.join("target/static");
        fs::create_dir_all(&built).expect("a folder for the binary");
        fs::copy(binary, built.join("postern-x86_64-unknown-linux-musl")).expect("the binary");
        fs::create_dir(desk.folder.join("systemd")).expect("a folder for the units");
        let units = ["postern.service", "postern.socket", "postern.env"];
        for name in units
            .iter()
            .chain(&["tls.conf", "deploy-hook", "postern-run"])
        {
            let from = project.join("systemd").join(name);
            fs::copy(from, desk.folder.join("systemd").join(name)).expect("a unit");
        }
        desk.make_key(root);
        desk
    }

    /// Where the commands run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// An ssh key that lets in, and `ssh` and `scp` that find the machine.
    fn make_key(&self, root: &Path) {
        let (key, bin) = (self.folder.join("key"), self.folder.join("bin"));
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .output();
        succeeded("ssh-keygen", made.expect("ssh-keygen is installed"));
        fs::create_dir_all(root.join("root/.ssh")).expect("a folder in root's home");
        fs::copy(
            key.with_extension("pub"),
            root.join("root/.ssh/authorized_keys"),
        )
        .expect("a key");
        let config = self.folder.join("ssh_config");
        let settings = format!(
            "Host device\nHostName 127.0.0.1\nIdentityFile {}\nStrictHostKeyChecking no\n\
             UserKnownHostsFile /dev/null\nLogLevel ERROR\n",
            key.display()
        );
        fs::write(&config, settings).expect("a file for ssh");
        fs::create_dir(&bin).expect("a folder for two commands");
        for name in ["ssh", "scp"] {
            let command = format!(
                "#!/bin/sh\nexec /usr/bin/{name} -F '{}' \"$@\"\n",
                config.display()
            );
            fs::write(bin.join(name), command).expect("a command");
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("a mode");
        }
    }

    /// Runs the first block of commands that docs/operating.md has after this text, exactly as written.
    #[track_caller]
    pub fn follow_manual(&self, after: &str) {
        let commands = self.manual_block(after);
        succeeded(commands, self.output(commands));
    }

    /// The same where the commands have to fail.
    #[track_caller]
    pub fn follow_manual_to_failure(&self, after: &str) {
        let commands = self.manual_block(after);
        let ended = self.output(commands);
        assert!(!ended.status.success(), "{commands} succeeded: {ended:?}");
    }

    #[track_caller]
    fn manual_block(&self, after: &str) -> &str {
        let (_, section) = self
            .manual
            .split_once("\n### Without a package\n")
            .expect("the manual tells how to install");
        let (_, rest) = section
            .split_once(after)
            .unwrap_or_else(|| panic!("no {after:?}"));
        let (_, rest) = rest.split_once("\n```sh\n").expect("a block of commands");
        let (commands, _) = rest.split_once("\n```\n").expect("the end of the block");
        commands
    }

    fn output(&self, commands: &str) -> Output {
        let path = format!(
            "{}:{}",
            self.folder.join("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        Command::new("bash")
            .args(["-euc", commands])
            .env("PATH", path)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()
            .expect("bash is installed")
    }

    /// Changes a file as its owner would in an editor: the line that begins with `start`, commented
    /// out or not, becomes `line`.
    #[track_caller]
    pub fn edit(&self, file: &str, start: &str, line: &str) {
        let path = self.folder.join(file);
        let content = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut found = 0;
        let mut edited = String::new();
        for old in content.lines() {
            let hit = old.trim_start_matches('#').starts_with(start);
            found += usize::from(hit);
            let _ = writeln!(edited, "{}", if hit { line } else { old });
        }
        assert_eq!(found, 1, "lines with {start} in {file}");
        fs::write(path, edited).expect("the file was read");
    }

    /// Copies a file of this machine into the folder of settings.
    pub fn add_setting_file(&self, from: &Path, name: &str) {
        fs::copy(from, self.folder.join("postern").join(name)).expect("a file of the tenant");
    }
}
