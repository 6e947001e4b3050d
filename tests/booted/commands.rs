//! `postern check` and `postern explain` as the service's user.

use std::fs;

use crate::host::Host;
use crate::support::token::Token;

const INSTALL: &str = "**Find out what is wrong**";
const SETTINGS: &str = "/etc/postern/postern.env";

/// Before and after a setting is wrong, and beside the service, which it does not disturb.
pub fn as_the_services_user(host: &mut Host) {
    host.desk.follow_manual(INSTALL);
    let before = (host.main_pid(), host.restarts());
    let machine = host.machine();
    let checked = machine.run("postern-run check");
    for text in [
        "ok       listening address: a postern listens on 127.0.0.1:6060 already\n",
        "postern can be written, and holds 2 keys (",
        "ok       clock: as the tenant's\n",
    ] {
        assert!(checked.contains(text), "{checked}");
    }
    let lines = checked.lines().filter(|line| !line.starts_with(' '));
    assert!(
        lines.clone().all(|line| line.starts_with("ok ")),
        "{checked}"
    );
    assert_eq!(lines.count(), 9, "{checked}");
    machine.run(&format!(
        "sed -i.right 's/^AUTH0_DOMAIN=.*/AUTH0_DOMAIN=localhost:1/' {SETTINGS}"
    ));
    host.desk.follow_manual_to_failure(INSTALL);
    let failed = machine.output("postern-run check");
    let text = String::from_utf8_lossy(&failed.stdout);
    assert_eq!(failed.status.code(), Some(1), "{text}");
    assert!(
        text.contains("\nFAILED   connection: connecting failed: "),
        "{text}"
    );
    machine.run(&format!("mv {SETTINGS}.right {SETTINGS}"));
    explain(host, &host.user, 0, "\naccepted\n");
    let expired = Token::user(&host.tenant).expired().sign();
    explain(host, &expired, 1, "\nrefused: The access token expired ");
    assert_eq!((host.main_pid(), host.restarts()), before);
    host.wait_until_served();
}

fn explain(host: &Host, token: &str, code: i32, says: &str) {
    let sent = host.sent.lock();
    sent.expect("no test panics with it").push(token.to_owned());
    let file = host.machine().path("/root/token");
    fs::write(&file, format!("Bearer {token}\n")).expect("a file of root");
    let ended = host.machine().output("postern-run explain < /root/token");
    fs::remove_file(&file).expect("it was just written");
    let text = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    assert!(text.contains(says), "{text}");
    assert!(text.contains("\nkeys         2 keys ("), "{text}");
}
