//! Stages that do not need each other are built side by side.

use crate::lab::{BUSYBOX, Lab};

fn tools() -> String {
    BUSYBOX.replace("FROM scratch", "FROM scratch AS tools")
}

/// Each waits for a word of the other, which comes through a cache that both mount.
#[test]
fn stages_run_at_the_same_time() {
    let meet = |mine: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,id=meet,target=/meet busybox touch /meet/{mine}; \\\n \
             for i in $(busybox seq 600); do [ -e /meet/{other} ] && exit 0; busybox sleep 0.1; done; exit 1\n"
        )
    };
    let tools = tools();
    let dockerfile = format!(
        "{tools}FROM tools AS one\n{}FROM tools AS two\n{}FROM one\nCOPY --from=two /bin/busybox /two\n",
        meet("one", "two"),
        meet("two", "one"),
    );
    let Some(lab) = Lab::with_busybox("stages_run_at_the_same_time", &dockerfile) else {
        return;
    };
    let image = lab.image(&[]);
    assert!(image.entries.contains_key(b"two".as_slice()));
}

/// The one that fails is told; the other one is stopped long before its end.
#[test]
fn a_stage_that_fails_stops_the_others() {
    let tools = tools();
    let dockerfile = format!(
        "{tools}FROM tools AS slow\nRUN --mount=type=cache,id=begun,target=/begun busybox touch /begun/slow; busybox sleep 100000\n\
         FROM tools AS wrong\nRUN --mount=type=cache,id=begun,target=/begun \
         while [ ! -e /begun/slow ]; do busybox sleep 0.1; done; echo the reason; exit 7\n\
         FROM slow\nCOPY --from=wrong /bin/busybox /two\n"
    );
    let Some(lab) = Lab::with_busybox("a_stage_that_fails_stops_the_others", &dockerfile) else {
        return;
    };
    let outcome = lab.build(&[]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    // The place is the RUN of the stage that failed, not the sleeper's.
    for words in ["exit code 7", "the reason", "Dockerfile:7:1"] {
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
}
