//! The file as it is found after a crash, a mistake, or somebody's hand.

use super::*;

const ISSUER: &str = "https://tenant.example/";

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder =
            std::env::temp_dir().join(format!("postern-disk-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    fn copy(&self) -> DiskCopy {
        DiskCopy::new(self.0.clone(), ISSUER.to_owned())
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    fn modified(&self) -> Option<Vec<u8>> {
        fs::read(self.file()).ok()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stored(id: &str, fetched: u64) -> Stored {
    let modulus = "_".repeat(341) + "w";
    let text = format!(
        r#"{{"keys":[{{"kty":"RSA","kid":"{id}","n":"{modulus}","e":"AQAB","x":"\u0041\n"}}]}}"#
    );
    Stored {
        text: text.into_bytes().into(),
        fetched: UNIX_EPOCH + Duration::from_secs(fetched),
        fresh_for: Duration::from_secs(600),
    }
}

#[test]
fn what_is_kept_comes_back() {
    let folder = Folder::new("back");
    assert!(folder.copy().load().is_none());
    folder.copy().keep(stored("a", 1_800_000_000));
    let (keys, loaded) = folder.copy().load().unwrap();
    assert_eq!(loaded, stored("a", 1_800_000_000));
    assert!(keys.get("a").is_some());
    let entries: Vec<_> = fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(entries, [FILE], "nothing else is left there");
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("mode");
    folder.copy().keep(stored("a", 1_800_000_000));
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn it_is_written_again_only_for_news() {
    let folder = Folder::new("news");
    let mut copy = folder.copy();
    let start = 1_800_000_000;
    for (what, is_written) in [
        (stored("a", start), true),
        (stored("a", start + 3600), false),
        (stored("a", start + 3601), true),
        (stored("a", start + 3602), false),
        (stored("b", start + 3603), true),
        (stored("b", start - 10_000), true),
    ] {
        let _ = fs::remove_file(folder.file());
        copy.keep(what.clone());
        assert_eq!(folder.modified().is_some(), is_written, "{what:?}");
    }
    copy.keep(stored("b", start));
    let mut after_restart = folder.copy();
    after_restart.load().unwrap();
    fs::remove_file(folder.file()).unwrap();
    after_restart.keep(stored("b", start + 60));
    assert!(
        folder.modified().is_none(),
        "what was loaded counts as written"
    );
}

#[test]
fn a_broken_or_foreign_file_is_ignored() {
    let folder = Folder::new("broken");
    folder.copy().keep(stored("a", 1_800_000_000));
    let whole = fs::read_to_string(folder.file()).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(whole.contains(from), "{whole}");
        whole.replace(from, to).into_bytes()
    };
    let mut cases = vec![
        Vec::new(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        format!("[{whole}]").into_bytes(),
        format!("{whole}x").into_bytes(),
        b"\xff\xfe\x00".to_vec(),
        vec![b' '; (MAX_MIB << 20) as usize + 1],
        changed("tenant.example", "other.example"),
        changed(r#""version":1"#, r#""version":2"#),
        changed("1800000000", "18446744073709551615"),
        changed("1800000000", "-1"),
        changed("1800000000", "\"1800000000\""),
        changed("\\\"keys\\\"", "\\\"kez\\\""),
    ];
    // A write that was cut off at any byte.
    cases.extend((0..whole.len()).map(|end| whole.as_bytes()[..end].to_vec()));
    for content in cases {
        fs::write(folder.file(), &content).unwrap();
        assert!(
            folder.copy().load().is_none(),
            "{}",
            String::from_utf8_lossy(&content)
        );
    }
    fs::write(folder.file(), &whole).unwrap();
    assert!(folder.copy().load().is_some());
}

#[test]
fn a_set_without_a_usable_key_comes_back() {
    let folder = Folder::new("unusable");
    let stored = Stored {
        text: br#"{"keys":[]}"#.as_slice().into(),
        ..stored("a", 1_800_000_000)
    };
    folder.copy().keep(stored.clone());
    let (keys, loaded) = folder.copy().load().unwrap();
    assert!(keys.is_empty());
    assert_eq!(loaded, stored);
}

#[test]
fn what_is_no_file_is_ignored() {
    let folder = Folder::new("no-file");
    fs::create_dir(folder.file()).unwrap();
    assert!(folder.copy().load().is_none());
    let nowhere = DiskCopy::new(folder.0.join("nowhere"), ISSUER.to_owned()).load();
    assert!(nowhere.is_none());
}

#[test]
fn a_folder_that_cannot_be_written_is_tried_again() {
    let folder = Folder::new("again");
    let mut copy = DiskCopy::new(folder.0.join("later"), ISSUER.to_owned());
    copy.keep(stored("a", 1_800_000_000));
    assert!(copy.is_failing);
    fs::create_dir(folder.0.join("later")).unwrap();
    copy.keep(stored("a", 1_800_000_000));
    assert!(!copy.is_failing);
    assert!(copy.load().is_some());
}

#[test]
fn a_leftover_of_a_crash_is_replaced() {
    let folder = Folder::new("leftover");
    fs::write(folder.0.join(TEMPORARY), "half a fi").unwrap();
    folder.copy().keep(stored("a", 1_800_000_000));
    assert!(folder.copy().load().is_some());
    assert!(!folder.0.join(TEMPORARY).exists());
}
