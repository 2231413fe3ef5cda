//! Real repositories over real HTTP, by the machine's git.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::common::{Lab, files, git_is_missing};
use launchway_git::GitError;
use launchway_testkit::git::{GitServer, TOKEN, fed, run};
use launchway_testkit::http::{Answer, Server, Step};

#[tokio::test(flavor = "multi_thread")]
async fn references_and_their_files() {
    if git_is_missing("references_and_their_files") {
        return;
    }
    let lab = Lab::new().await;
    let id = |name: &str| lab.id("plain.git", name);
    let (one, two, side) = (id("v1"), id("main"), id("side"));
    for (wanted, commit, has_side) in [
        ("", &two, false),
        ("#main", &two, false),
        ("#v1", &one, false),
        ("#v2", &two, false),
        ("#refs/tags/v2", &two, false),
        ("#side", &side, true),
        // A branch comes before a tag.
        ("#both", &one, false),
        ("?tag=both", &side, true),
        ("?branch=both", &one, false),
        (&format!("#{side}"), &side, true),
        (&format!("?commit={one}"), &one, false),
        (&format!("?ref=v2&checksum={}", &two[..8]), &two, false),
        (
            &format!("?ref=v1&commit={one}&fetch-by-commit=true"),
            &one,
            false,
        ),
    ] {
        let wanted = format!("{}{wanted}", lab.url("git/plain.git"));
        let (resolved, tree) = lab.take(&wanted, false).unwrap();
        assert_eq!(resolved.commit, *commit, "{wanted}");
        assert_eq!(tree.join("side").exists(), has_side, "{wanted}");
        let file = fs::read_to_string(tree.join("file")).unwrap();
        assert_eq!(file.starts_with("two"), commit == &two, "{wanted}: {file}");
    }
    // Everything is here by now: a commit is taken without a question.
    let before = lab.server.seen().len();
    lab.take(&format!("{}#{one}", lab.url("git/plain.git")), false)
        .unwrap();
    assert_eq!(lab.server.seen().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_as_in_the_commit() {
    if git_is_missing("files_are_as_in_the_commit") {
        return;
    }
    let lab = Lab::new().await;
    for way in ["git", "files"] {
        let url = lab.url(&format!("{way}/plain.git"));
        let (_, tree) = lab.take(&format!("{url}#main"), false).unwrap();
        assert_eq!(
            files(&tree),
            [
                ".dockerignore",
                ".gitattributes",
                "Dockerfile",
                "dir",
                "dir/deep",
                "dir/deep/x",
                "dir/link",
                "dir/program",
                "file",
                "windows.txt",
            ]
        );
        for (name, mode) in [
            ("", 0o755),
            ("file", 0o644),
            ("dir/program", 0o755),
            ("dir", 0o755),
        ] {
            let metadata = fs::symlink_metadata(tree.join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{name}");
            assert_eq!(metadata.mtime(), 1_000_000_000, "{name}");
        }
        let link = fs::symlink_metadata(tree.join("dir/link")).unwrap();
        assert!(link.is_symlink() && link.mtime() == 1_000_000_000);
        assert_eq!(fs::read(tree.join("windows.txt")).unwrap(), b"a\r\nb\r\n");
        let file = fs::read_to_string(tree.join("file")).unwrap();
        assert!(file.starts_with("two $Id: "), "{file}");

        let (_, folder) = lab.take(&format!("{url}#main:dir/deep"), true).unwrap();
        assert_eq!(files(&folder), ["x"]);
        let (_, now) = lab
            .take(&format!("{url}?ref=main&mtime=checkout"), false)
            .unwrap();
        assert!(fs::metadata(now.join("file")).unwrap().mtime() > 1_000_000_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_repository_is_whole_and_always_the_same() {
    if git_is_missing("a_kept_repository_is_whole_and_always_the_same") {
        return;
    }
    let lab = Lab::new().await;
    let url = format!("{}#v2", lab.url("git/plain.git"));
    let (resolved, tree) = lab.take(&url, true).unwrap();
    let ask = |arguments: &[&str]| run(&tree, arguments).unwrap();
    assert_eq!(ask(&["rev-parse", "HEAD"]), resolved.commit);
    assert_eq!(ask(&["describe", "--exact-match"]), "v2");
    assert_eq!(ask(&["cat-file", "-t", "v2"]), "tag");
    assert_eq!(ask(&["status", "--porcelain"]), "");
    assert_eq!(ask(&["log", "--format=%s"]), "two");
    assert_eq!(
        ask(&["config", "remote.origin.url"]),
        lab.url("git/plain.git")
    );
    assert!(ask(&["fsck"]).is_empty());
    let config = fs::read_to_string(tree.join(".git/config")).unwrap();
    assert!(!config.contains(TOKEN));
    // In another place, with another state: the same bytes.
    let other = Lab::new().await;
    let again = format!("{}#v1", other.url("git/plain.git"));
    other.take(&again, true).unwrap();
    let (_, second) = other
        .take(&format!("{}#v2", other.url("git/plain.git")), true)
        .unwrap();
    // `status` above has written the index anew.
    let (_, first) = lab.take(&url, true).unwrap();
    assert_eq!(files(&first), files(&second));
    for name in files(&first) {
        let (first, second) = (first.join(&name), second.join(&name));
        if first.is_file() && name != ".git/config" {
            assert!(
                fs::read(first).unwrap() == fs::read(second).unwrap(),
                "{name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_come_along_unless_told_otherwise() {
    if git_is_missing("submodules_come_along_unless_told_otherwise") {
        return;
    }
    let lab = Lab::new().await;
    for way in ["git", "files"] {
        let url = lab.url(&format!("{way}/outer.git"));
        let (_, tree) = lab.take(&format!("{url}#main"), false).unwrap();
        let inner = tree.join("modules/inner");
        assert_eq!(fs::read_to_string(inner.join("file")).unwrap(), "one\n");
        assert!(!inner.join(".git").exists() && !tree.join(".git").exists());
        assert_eq!(
            fs::metadata(inner.join("file")).unwrap().mtime(),
            1_000_000_000
        );
        let (_, folder) = lab
            .take(&format!("{url}#main:modules/inner/dir"), false)
            .unwrap();
        assert_eq!(files(&folder), ["deep", "deep/x", "link", "program"]);
        let (_, tree) = lab
            .take(&format!("{url}?ref=main&submodules=false"), false)
            .unwrap();
        assert_eq!(files(&tree.join("modules")), ["inner"]);
    }
    let (_, tree) = lab.take(&lab.url("git/outer.git"), true).unwrap();
    let inner = tree.join("modules/inner");
    assert_eq!(run(&inner, &["log", "-1", "--format=%s"]).unwrap(), "one");
    assert_eq!(run(&tree, &["status", "--porcelain"]).unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moved_is_seen_by_the_next_process() {
    if git_is_missing("what_moved_is_seen_by_the_next_process") {
        return;
    }
    let mut lab = Lab::new().await;
    let url = format!("{}#main", lab.url("git/plain.git"));
    let (first, _) = lab.take(&url, false).unwrap();
    let bare = lab.folder.path().join("served/plain.git");
    let tree = run(&bare, &["rev-parse", "side^{tree}"]).unwrap();
    let new = fed(&bare, &["commit-tree", &tree, "-p", "main"], b"three").unwrap();
    run(&bare, &["update-ref", "refs/heads/main", &new]).unwrap();
    // One process sees one state.
    assert_eq!(lab.take(&url, false).unwrap().0, first);
    lab.reopen();
    let (second, tree) = lab.take(&url, false).unwrap();
    assert_eq!(second.commit, new);
    assert!(tree.join("side").exists());
    // What is gone upstream is still here.
    let old = format!("{}#{}", lab.url("git/plain.git"), first.commit);
    assert!(lab.take(&old, false).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_mirror_is_made_anew() {
    if git_is_missing("a_damaged_mirror_is_made_anew") {
        return;
    }
    let lab = Lab::new().await;
    let url = format!("{}#main", lab.url("git/plain.git"));
    lab.take(&url, false).unwrap();
    let mut emptied = 0;
    for name in files(&lab.state()) {
        let path = lab.state().join(&name);
        if name.contains("/objects/") && path.is_file() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            fs::write(&path, "").unwrap();
            emptied += 1;
        }
    }
    assert!(emptied > 0);
    let (_, tree) = lab.take(&url, false).unwrap();
    assert!(
        fs::read_to_string(tree.join("file"))
            .unwrap()
            .starts_with("two")
    );
}

/// git itself would send the header on, to whatever server a redirect names.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_not_sent_on() {
    if git_is_missing("tokens_are_not_sent_on") {
        return;
    }
    let mut lab = Lab::new().await;
    let served = lab.folder.path().join("served");
    let other = Server::start_both(Vec::new(), GitServer::new(&served)).await;
    let moved = |from: &str, to: &str| {
        let to = format!("http://{}/{to}", other.host());
        let location = format!("{to}/plain.git/info/refs?service=git-upload-pack");
        let answer = Answer::status(302).header("location", location);
        Step::new("GET", format!("/{from}/plain.git/info/refs"), answer).always()
    };
    lab.server
        .extend(vec![moved("moved", "git"), moved("away", "private")]);
    lab.secrets = vec![("GIT_AUTH_TOKEN".to_owned(), TOKEN.to_owned())];
    let (_, tree) = lab.take(&lab.url("moved/plain.git"), false).unwrap();
    assert!(tree.join("file").exists());
    let error = lab.take(&lab.url("away/plain.git"), false).unwrap_err();
    let help = error.help().unwrap_or_default();
    assert!(help.contains("another address"), "{error}: {help}");
    let seen = other.seen();
    assert!(seen.len() > 2, "{seen:?}");
    for request in seen {
        assert_eq!(request.header("authorization"), None, "{}", request.target);
    }
    let first = lab.server.seen().into_iter().next();
    assert!(first.is_some_and(|first| first.header("authorization").is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_open_what_is_private_and_stay_secret() {
    if git_is_missing("tokens_open_what_is_private_and_stay_secret") {
        return;
    }
    let mut lab = Lab::new().await;
    let url = lab.url("private/plain.git");
    let error = lab.take(&url, false).unwrap_err();
    assert!(
        error
            .help()
            .is_some_and(|help| help.contains("GIT_AUTH_TOKEN")),
        "{error}"
    );
    let host = lab.server.host().to_owned();
    for (id, value) in [
        ("GIT_AUTH_TOKEN".to_owned(), TOKEN.to_owned()),
        (format!("GIT_AUTH_TOKEN.{host}"), format!("{TOKEN}\n")),
        (
            "GIT_AUTH_HEADER".to_owned(),
            "basic eC1hY2Nlc3MtdG9rZW46bGV0LW1lLWlu".to_owned(),
        ),
    ] {
        lab.secrets = vec![(id.clone(), value)];
        lab.reopen();
        let (_, tree) = lab
            .take(&url, true)
            .unwrap_or_else(|error| panic!("{id}: {error}"));
        for name in files(&tree).iter().map(|name| tree.join(name)).chain(
            files(&lab.state())
                .iter()
                .map(|name| lab.state().join(name)),
        ) {
            let content = fs::read(&name).unwrap_or_default();
            let text = String::from_utf8_lossy(&content);
            assert!(
                !text.contains(TOKEN) && !text.contains("eC1hY2"),
                "{}",
                name.display()
            );
        }
    }
    // The same from the URL itself.
    lab.secrets.clear();
    lab.reopen();
    let with = url.replace("http://", &format!("http://x-access-token:{TOKEN}@"));
    lab.take(&with, false).unwrap();
    // A wrong one is not repeated.
    lab.secrets = vec![("GIT_AUTH_TOKEN".to_owned(), "wrong-and-secret".to_owned())];
    lab.reopen();
    let error = lab.take(&url, false).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("wrong-and-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had() {
    if git_is_missing("what_cannot_be_had") {
        return;
    }
    let mut lab = Lab::new().await;
    let two = lab.id("plain.git", "main");
    let missing = "0".repeat(40);
    for (wanted, why) in [
        (format!("#{}", &two[..9]), "no branch or tag"),
        ("#HEAD".to_owned(), "no branch or tag"),
        ("#nothing".to_owned(), "no branch or tag `nothing`"),
        (format!("?ref=main&checksum={missing}"), "not 0000"),
        (format!("#{missing}"), "does not give the commit"),
        (
            "#main:nowhere".to_owned(),
            "no folder nowhere: it is not there",
        ),
        ("#main:file".to_owned(), "it is no folder"),
        ("#main:dir/link".to_owned(), "a symbolic link is in the way"),
    ] {
        let error = lab
            .take(&format!("{}{wanted}", lab.url("git/plain.git")), false)
            .unwrap_err();
        assert!(error.to_string().contains(why), "{wanted}: {error}");
    }
    let error = lab.take(&lab.url("git/none.git"), false).unwrap_err();
    assert!(matches!(error, GitError::Failed { .. }), "{error:?}");
    let error = lab.take("ssh://git@127.0.0.1:1/x", false).unwrap_err();
    assert!(matches!(error, GitError::NoAgent), "{error:?}");
    lab.forget_git();
    let error = lab.take(&lab.url("git/plain.git"), false).unwrap_err();
    assert!(matches!(error, GitError::NotInstalled), "{error:?}");
    let left = fs::read_dir(Path::new(&lab.state())).unwrap().flatten();
    assert!(
        left.map(|entry| entry.path())
            .all(|path| path.extension().is_none_or(|it| it != "new"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_interrupted_stops() {
    if git_is_missing("who_is_interrupted_stops") {
        return;
    }
    let lab = Lab::new().await;
    lab.cancelled
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let error = lab.take(&lab.url("git/plain.git"), false).unwrap_err();
    assert!(matches!(error, GitError::Cancelled), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_share_a_mirror() {
    if git_is_missing("many_at_once_share_a_mirror") {
        return;
    }
    let lab = Lab::new().await;
    let url = lab.url("git/plain.git");
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            for name in ["main", "side", "v1", "v2", "both", "main"] {
                let (lab, url) = (&lab, format!("{url}#{name}"));
                scope.spawn(move || {
                    let (_, tree) = lab.take(&url, false).unwrap();
                    assert!(tree.join("file").exists());
                });
            }
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_64_digits() {
    if git_is_missing("commits_of_64_digits") {
        return;
    }
    let lab = Lab::new().await;
    let bare = lab.folder.path().join("served/long.git");
    fs::create_dir(&bare).unwrap();
    run(&bare, &["init", "-q", "--bare", "--object-format=sha256"]).unwrap();
    let blob = fed(&bare, &["hash-object", "-w", "--stdin"], b"long\n").unwrap();
    let entry = format!("100644 blob {blob}\tfile\n");
    let tree = fed(&bare, &["mktree"], entry.as_bytes()).unwrap();
    let commit = run(&bare, &["commit-tree", &tree, "-m", "long"]).unwrap();
    run(&bare, &["update-ref", "refs/heads/main", &commit]).unwrap();
    run(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"]).unwrap();
    for (reference, keep) in [("#main".to_owned(), false), (format!("#{commit}"), true)] {
        let url = format!("{}{reference}", lab.url("git/long.git"));
        let (resolved, tree) = lab.take(&url, keep).unwrap();
        assert_eq!(resolved.commit, commit);
        assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), "long\n");
        assert_eq!(keep, tree.join(".git").exists());
    }
}
