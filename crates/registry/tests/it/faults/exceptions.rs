//! Where a fault means something else to one kind of request than to all others.

use launchway_registry::ErrorClass::{Auth, Missing, Permanent, Throttled, Transient};

use crate::faults::model::Role;
use crate::faults::rows::{Deed, Fault, On, Want};

/// What has to come of a fault here, where that is not what its row says. The first rule that
/// fits counts.
pub(super) fn of(operation: &str, role: Role, fault: &Fault) -> Option<Want> {
    let name = fault.name;
    let by_tag = operation == "list referrers by tag";
    match role {
        // A mount that is refused for whatever reason leaves the upload.
        Role::Mount => match fault.want {
            Want::Fails(Transient | Throttled) => None,
            Want::Fails(_) if name == "mounted another blob" => None,
            Want::Fails(_) | Want::Denied => Some(Want::Harmless),
            _ => None,
        },
        // The answer to the question whether a blob is there: to send it never does harm.
        Role::HeadBlob => match name {
            "404" | "404 with a page" if operation == "ask for a blob" => None,
            "404" | "404 with a page" => Some(Want::Harmless),
            // Nothing tells this from the answer of a registry that says no more.
            "200 and nothing" => Some(Want::Undetectable),
            "403 that is a limit" => Some(Want::Fails(Auth)),
            _ => None,
        },
        Role::HeadManifest => match name {
            // The explanation of a 403 is asked for with a GET, and there it is none.
            "403 that is a limit" => Some(Want::Fails(Auth)),
            // There are registries that know no HEAD.
            "405" | "501" => Some(Want::Harmless),
            // By a tag, the header is all there is.
            "another digest in the header" if operation == "probe a tag" => {
                Some(Want::Undetectable)
            }
            _ => None,
        },
        // A blob that is there in the end was stored, whatever was heard of it.
        Role::FinishUpload => match (name, fault.want, fault.deed) {
            // The registry forgot the upload; another one can be begun.
            ("404" | "404 with a page" | "416", ..) => Some(Want::Survived(Transient)),
            // Smaller parts may do.
            ("413", ..) => Some(Want::Survived(Permanent)),
            (_, Want::Survived(Transient), Deed::Spoil(_)) => Some(Want::Harmless),
            (_, Want::Survived(Auth), _) => Some(Want::Survived(Auth)),
            _ => None,
        },
        Role::Token => match name {
            // A token server that is not there does not say that the image is not there.
            "404" | "404 with a page" => Some(Want::Fails(Permanent)),
            // As from a registry that knows no HEAD: the question is asked with a GET.
            "405" | "501" => Some(Want::Either(Permanent)),
            _ => None,
        },
        // All bytes were there, and they were the right ones.
        Role::GetBlob if operation == "pull a blob" && name == "chunks without their end" => {
            Some(Want::Harmless)
        }
        Role::DeleteManifest => match name {
            "200 and nothing" | "204" => Some(Want::Undetectable),
            _ => None,
        },
        // Names in a list have no digest.
        Role::Tags | Role::Catalog => match name {
            "other bytes of the same length" => Some(Want::Undetectable),
            // A page of 1,000 may be too much for a registry.
            "400" | "an error that repeats secrets" => Some(Want::Survived(Permanent)),
            _ => None,
        },
        // A registry without the list has a tag; the model's has not, or nothing else.
        Role::Referrers => match name {
            "400" | "404" | "404 with a page" | "405" | "501" | "an error that repeats secrets"
                if by_tag =>
            {
                Some(Want::Harmless)
            }
            "400" | "404" | "404 with a page" | "405" | "501" | "an error that repeats secrets" => {
                Some(Want::Fails(Missing))
            }
            "two lengths" | "a length that is no number" | "a negative length" => None,
            _ if by_tag && matches!(fault.on, On::Bodies | On::Lists) => Some(Want::Harmless),
            _ => None,
        },
        // The tag that stands in for a list, when the registry says that there is none.
        Role::GetManifest if operation == "put a referring manifest without a list" => match name {
            "404" | "404 with a page" => Some(Want::Undetectable),
            _ => None,
        },
        _ => None,
    }
    // A token that was issued a moment ago and is refused: to ask for another is no use.
    .or(match fault.want {
        Want::Survived(Auth) => Some(Want::Either(Auth)),
        _ => None,
    })
}
