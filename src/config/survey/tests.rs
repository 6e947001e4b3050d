use super::*;

fn survey(vars: &[(&str, &str)]) -> Survey {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    Survey::of_places([vars.iter().map(own).collect()], Report::default())
}

const TENANT: (&str, &str) = ("AUTH0_DOMAIN", "t.example");
const API: (&str, &str) = ("AUTH0_AUDIENCE", "api");

#[test]
fn a_wrong_setting_takes_only_what_it_is_part_of() {
    let all = survey(&[TENANT, API]);
    assert!(all.problems.is_empty(), "{:?}", all.problems);
    assert_eq!(all.tenant.unwrap().issuer(), "https://t.example/");
    assert_eq!(all.listen, Some("127.0.0.1:6060".parse().unwrap()));
    assert!(matches!(all.certificate, Some(Ok(None))));
    let port = survey(&[TENANT, API, ("PORT", "x")]);
    assert_eq!(port.problems.len(), 1);
    assert!(port.listen.is_none() && port.tenant.is_some());
    let api = survey(&[TENANT]);
    assert_eq!(api.problems.len(), 1);
    assert!(api.audience.is_none() && api.tenant.is_some() && api.listen.is_some());
    for wrong in [
        ("HTTPS_PROXY", "x:0"),
        ("NO_PROXY", " x"),
        ("SSL_CERT_FILE", "/none"),
    ] {
        let way = survey(&[TENANT, API, wrong]);
        assert_eq!(way.problems.len(), 1);
        assert!(way.tenant.is_none() && way.audience.is_some());
    }
}

#[test]
fn faults_of_the_certificate_stand_apart() {
    let file = ("TLS_CERTIFICATE_FILE", "/none");
    let missing = survey(&[TENANT, API, file, ("TLS_KEY_FILE", "/none")]);
    assert!(missing.problems.is_empty(), "{:?}", missing.problems);
    assert!(matches!(missing.certificate, Some(Err(faults)) if faults.len() == 2));
    let alone = survey(&[TENANT, API, file]);
    assert!(matches!(alone.certificate, Some(Err(faults)) if faults.len() == 1));
    let untidy = survey(&[TENANT, API, file, ("TLS_KEY_FILE", "'/none'")]);
    assert_eq!(untidy.problems.len(), 1);
    assert!(untidy.certificate.is_none());
}
