//! What is written is read back.

use super::*;

#[test]
fn orders_arrive_as_they_were_sent() {
    let mut full = RunSpec::new(
        vec!["/a".into(), "/b:c,d".into()],
        vec!["sh".into(), OsString::from_vec(vec![0xff, b'x'])],
    );
    full.stacking = Stacking::Fuse {
        program: "/bin/f".into(),
    };
    full.upper = Some("/u".into());
    full.work = Some("/w".into());
    full.mounts = vec![
        MountSpec::Bind {
            source: "/s".into(),
            target: "/t".into(),
            read_only: true,
        },
        MountSpec::Tmpfs {
            target: "/tmp".into(),
            size: Some(1 << 40),
            mode: 0o1777,
        },
        MountSpec::Tmpfs {
            target: "/other".into(),
            size: None,
            mode: 0,
        },
        MountSpec::Layers(LayersMount {
            lower: vec!["/a".into(), "/b".into()],
            changes: Some(("/u".into(), "/w".into())),
            path: "p/q".into(),
            directory: true,
            target: "/l".into(),
        }),
        MountSpec::Layers(LayersMount {
            lower: vec!["/a".into()],
            changes: None,
            path: "".into(),
            directory: false,
            target: "/m".into(),
        }),
        MountSpec::File {
            content: Content(vec![0, 255]),
            target: "/run/secrets/x".into(),
            mode: 0o400,
            uid: 7,
            gid: 8,
        },
    ];
    full.extra_hosts = vec![("a".into(), "::1".parse().expect("an address"))];
    full.shm_size = Some(1);
    full.limits = Limits {
        memory: Some(2),
        memory_and_swap: Some(u64::MAX),
        pids: Pids::Limit(3),
        cpus: Some(4),
        resources: vec![ResourceLimit {
            name: "core".into(),
            soft: Some(0),
            hard: None,
        }],
        cgroup_parent: Some("/g".into()),
    };
    full.env = vec![("A".into(), "".into()), ("B".into(), "x=y".into())];
    full.user = UserIds {
        uid: 1,
        gid: u32::MAX,
        groups: vec![3, 4],
    };
    full.network = Network::None;
    full.resolv_conf = Some("/r".into());
    full.hosts = Some("/h".into());
    full.timeout = Some(Duration::from_millis(1234));
    full.no_new_privileges = true;
    for order in [
        Order {
            spec: RunSpec::new(Vec::new(), Vec::new()),
            stdin: None,
        },
        Order {
            spec: full,
            stdin: Some(b"input".to_vec()),
        },
    ] {
        let bytes = order.encode();
        assert_eq!(Order::read(&mut &bytes[..]).expect("readable"), order);
        assert!(Order::read(&mut &bytes[..bytes.len() - 1]).is_err());
    }
}

#[test]
fn reports_arrive_as_they_were_sent() {
    let failures = [
        ExecFailure::NotFound,
        ExecFailure::NotInPath,
        ExecFailure::PermissionDenied,
        ExecFailure::Directory,
        ExecFailure::InterpreterMissing("/lib/ld".into()),
        ExecFailure::Format(None),
        ExecFailure::Format(Some(Machine(183))),
        ExecFailure::Other(12),
    ];
    let reports = [
        Report::Exited(3),
        Report::Signaled(9),
        Report::TimedOut,
        Report::Lost(11),
        Report::NotKept {
            limit: String::from("memory"),
            why: String::from("no controller"),
        },
        Report::Hit(LimitsHit {
            memory: true,
            pids: false,
        }),
        Report::Failed {
            step: String::from("mounting"),
            errno: 1,
        },
    ];
    let not_executed = failures.map(|cause| Report::NotExecuted {
        program: "x".into(),
        cause,
    });
    for report in reports.into_iter().chain(not_executed) {
        let mut bytes = report.encode();
        assert_eq!(
            Report::decode_all(&bytes[..bytes.len() - 1]),
            [],
            "cut short: {report:?}"
        );
        bytes.append(&mut Report::Lost(3).encode());
        bytes.extend_from_slice(b"cut short");
        assert_eq!(Report::decode_all(&bytes), [report, Report::Lost(3)]);
    }
}
