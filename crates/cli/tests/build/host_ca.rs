//! Trusting this machine's certificate authorities leaves no trace in an image.

use launchway_testkit::flatten::compare;

use crate::lab::{BUSYBOX, Lab};

#[test]
fn trust_leaves_no_trace() {
    let steps = "RUN echo built > /built\n";
    let Some(lab) = Lab::with_busybox("trust_leaves_no_trace", &format!("{BUSYBOX}{steps}")) else {
        return;
    };
    let without = lab.image(&["--no-cache"]);
    let with = lab.image(&["--no-cache", "--host-ca"]);
    assert_eq!(compare(&without, &with), []);
    assert_eq!(without.entries.len(), with.entries.len());
}

#[test]
fn steps_can_use_it() {
    // Fails unless the bundle is there and named.
    let steps = "RUN busybox grep -q BEGIN \"$SSL_CERT_FILE\" && busybox test -r \"$APT_CONFIG\"\n";
    let Some(lab) = Lab::with_busybox("steps_can_use_it", &format!("{BUSYBOX}{steps}")) else {
        return;
    };
    lab.digest(&["--host-ca"]);
    assert_eq!(lab.build(&["--no-cache"]).code, Some(1));
}
