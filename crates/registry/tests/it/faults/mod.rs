//! Everything that goes wrong with everything the client does: each operation is run against a
//! registry that does all things right but one, for every kind of request that the operation
//! makes, every fault of the table that fits it, once and for ever.
//!
//! Whatever happens, these hold: what the client says is so, files and blobs are whole or absent,
//! requests and bytes are bounded, and no secret comes out.

mod exceptions;
mod model;
mod operations;
mod rows;
mod stage;

use std::collections::BTreeSet;

use launchway_registry::ErrorClass;

use model::Role;
use operations::{Ended, OPERATIONS, Operation};
use rows::{FAULTS, Fault, Want};
use stage::{Played, Times, play};

/// How an operation ended, as the table speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    /// The client believed a lie.
    Wrong,
    Failed(ErrorClass),
}

fn outcome(played: &Played) -> Outcome {
    match &played.result {
        Ok(Ended::Right) => Outcome::Right,
        Ok(Ended::Wrong) => Outcome::Wrong,
        // To say that something is not there is how some calls say `missing`.
        Ok(Ended::Absent) => Outcome::Failed(ErrorClass::Missing),
        Err(error) => Outcome::Failed(error.class),
    }
}

/// Whether an outcome is one that may be.
fn is_wanted(want: Want, times: Times, outcome: Outcome) -> bool {
    match (want, times, outcome) {
        (Want::Undetectable, ..) => true,
        (_, _, Outcome::Wrong) => false,
        (Want::Harmless, _, outcome) => outcome == Outcome::Right,
        (Want::Survived(_), Times::Once, outcome) => outcome == Outcome::Right,
        (Want::Survived(class), Times::Ever, outcome) => outcome == Outcome::Failed(class),
        (Want::Fails(class), _, outcome) => outcome == Outcome::Failed(class),
        (Want::Either(class), _, outcome) => {
            [Outcome::Right, Outcome::Failed(class)].contains(&outcome)
        }
        (Want::Denied, _, outcome) => [ErrorClass::Auth, ErrorClass::Permanent]
            .map(Outcome::Failed)
            .contains(&outcome),
        (Want::NotBelieved, _, _) => true,
    }
}

/// Runs one operation through the whole table.
async fn check(operation: &'static Operation) {
    let plain = play(operation, None).await;
    assert_eq!(
        outcome(&plain),
        Outcome::Right,
        "without any fault: {plain:?}"
    );
    let mut roles: BTreeSet<Role> = plain.roles.iter().copied().collect();
    roles.retain(|role| match operation.roles {
        [] => *role != Role::Token,
        only => only.contains(role),
    });
    assert!(!roles.is_empty());
    let mut rows = Vec::new();
    for role in roles {
        for fault in FAULTS.iter().filter(|fault| fault.on.fits(role)) {
            rows.extend([Times::Once, Times::Ever].map(|times| (role, fault, times)));
        }
    }
    let mut wrong = Vec::new();
    let mut running = tokio::task::JoinSet::new();
    let mut rows = rows.into_iter();
    loop {
        while running.len() < 8
            && let Some((role, fault, times)) = rows.next()
        {
            running.spawn(async move {
                let played = play(operation, Some((role, fault, times))).await;
                (role, fault, times, played)
            });
        }
        let Some(done) = running.join_next().await else {
            break;
        };
        let (role, fault, times, played) = done.unwrap();
        wrong.extend(complaints(operation, role, fault, times, &played));
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

/// What is not as it should be after one row.
fn complaints(
    operation: &Operation,
    role: Role,
    fault: &'static Fault,
    times: Times,
    played: &Played,
) -> Vec<String> {
    let want = exceptions::of(operation.name, role, fault).unwrap_or(fault.want);
    let outcome = outcome(played);
    let mut found = played.complaints.clone();
    if !is_wanted(want, times, outcome) {
        found.push(format!("{outcome:?} where {want:?} is wanted"));
    }
    let result = match &played.result {
        Ok(ended) => format!("{ended:?}"),
        Err(error) => error.to_string(),
    };
    found
        .iter()
        .map(|what| {
            format!(
                "{}: {role:?}: {} {times:?}: {what}: {result}",
                operation.name, fault.name
            )
        })
        .collect()
}

/// One test for each operation, so that they run beside each other and are told apart.
macro_rules! operations {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let operation = OPERATIONS.iter().find(|one| one.name == $name);
                check(operation.expect("the operation is in the table")).await;
            }
        )*

        #[test]
        fn every_operation_is_tested() {
            let names: Vec<&str> = OPERATIONS.iter().map(|one| one.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

operations! {
    ping: "ping",
    probe_a_tag: "probe a tag",
    probe_a_digest: "probe a digest",
    read_a_manifest_by_tag: "read a manifest by tag",
    read_a_manifest_by_digest: "read a manifest by digest",
    put_a_manifest_by_tag: "put a manifest by tag",
    put_a_manifest_by_digest: "put a manifest by digest",
    put_a_referring_manifest: "put a referring manifest",
    put_a_referring_manifest_without_a_list: "put a referring manifest without a list",
    pull_a_blob: "pull a blob",
    read_a_blob: "read a blob",
    push_a_blob_from_memory: "push a blob from memory",
    push_a_blob_from_a_file: "push a blob from a file",
    mount_a_blob: "mount a blob",
    mount_a_blob_in_vain: "mount a blob in vain",
    push_a_blob_that_is_there: "push a blob that is there",
    ask_for_a_blob: "ask for a blob",
    list_tags: "list tags",
    list_repositories: "list repositories",
    list_referrers: "list referrers",
    list_referrers_by_tag: "list referrers by tag",
    delete_a_tag: "delete a tag",
    delete_a_manifest: "delete a manifest",
}
