use super::samples::figures;
use super::*;
use crate::support::TempDir;

#[test]
fn figures_are_read_as_they_were_written() {
    let folder = TempDir::new();
    let file = folder.path().join("figures.json");
    try_write(&file).unwrap();
    assert!(!file.exists());
    let mut figures = figures();
    figures.write(&file).unwrap();
    assert!(Figures::read(&file).unwrap() == figures);
    // A later round replaces them, and leaves nothing beside them.
    figures.measured.truncate(3);
    figures.write(&file).unwrap();
    assert!(Figures::read(&file).unwrap() == figures);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(try_write(&folder.path().join("none/figures.json")).is_err());
}

#[test]
fn a_file_that_has_no_figures_is_refused() {
    let folder = TempDir::new();
    let file = folder.path().join("figures.json");
    let mut figures = figures();
    figures.measured.truncate(1);
    let text = figures.text();
    figures.measured[0].samples.clear();
    for (text, says) in [
        ("", "EOF"),
        (
            &*text.replace("\"per_second\":190000.0", "\"per_second\":null"),
            "null",
        ),
        (
            &*text.replace("\"per_second\":190000.0", "\"per_second\":1e999"),
            "out of range",
        ),
        (
            &*text.replace("\"per_second\":190000.0", "\"per_second\":-1"),
            "below zero",
        ),
        (&*figures.text(), "no figures"),
        ("{\"measured\":[]}", "missing field"),
    ] {
        fs::write(&file, text).unwrap();
        let error = Figures::read(&file).unwrap_err();
        assert!(
            error.contains(says) && error.contains("figures.json"),
            "{error}"
        );
    }
    fs::remove_file(&file).unwrap();
    assert!(Figures::read(&file).unwrap_err().contains("No such file"));
}

#[test]
fn spreads_have_medians() {
    let mut one = figures().measured.swap_remove(0);
    let spread = one.spread(|sample| sample.per_second);
    assert_eq!(
        (spread.lowest, spread.median, spread.highest),
        (190e3, 200e3, 210e3)
    );
    one.samples.truncate(2);
    assert_eq!(one.spread(|sample| sample.per_second).median, 200e3);
    assert_eq!(thousands(1234567.4), "1,234,567");
}
