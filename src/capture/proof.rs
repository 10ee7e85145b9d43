//! What a listing and the kernel's settings prove together.
//!
//! | what was seen | verdict |
//! |---|---|
//! | every rule is loaded | proven; forwarding does not matter, as the rules end what would be forwarded |
//! | a rule is missing or altered | broken, with each finding; forwarding, where it is on, is one more |
//! | the rules cannot be listed | unknown, which counts as not proven; broken where forwarding is on |
//! | an interface of a sandbox belongs to another one: a bridge, a bond, a VRF | broken: rules see the other's name |

use super::ruleset::table;
use super::settings::{Settings, Who};
use super::verify::{Finding, verify};

/// What was seen of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What `nft -j list ruleset` printed, or why it could not.
    pub ruleset: Result<String, String>,
    /// The settings by which the kernel forwards packets, of those that are on.
    pub forwarding: Vec<String>,
    /// Interfaces that belong to another one, with that.
    pub members: Vec<(String, String)>,
}

/// Whether everything that sandboxes send is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Proven,
    /// It is not.
    Broken(Vec<Finding>),
    /// It could not be looked at; this says why.
    Unknown(String),
}

impl Verdict {
    /// Whether it is proven.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Proven)
    }

    /// In words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Proven => "every rule is loaded".to_owned(),
            Self::Unknown(reason) => format!("unknown, which counts as not proven: {reason}"),
            Self::Broken(findings) => {
                let line =
                    |finding: &Finding| format!("{} ({}): {}", finding.problem, finding.cause, finding.cure);
                findings.iter().map(line).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

/// Judges what was seen.
#[must_use]
pub fn judge(settings: &Settings, observed: &Observed) -> Verdict {
    let ours = |name: &str| match &settings.who {
        Who::Interfaces { interfaces, .. } => interfaces.iter().any(|interface| interface.covers(name)),
        Who::EveryoneBut(_) => true,
    };
    let listed = observed
        .ruleset
        .clone()
        .and_then(|listing| verify(&table(settings), ours, &listing).map_err(|error| error.to_string()));
    let sidecar = matches!(settings.who, Who::EveryoneBut(_));
    let members = observed.members.iter().filter(|(name, _)| !sidecar && ours(name));
    let mut findings: Vec<Finding> = members
        .map(|(name, master)| Finding {
            problem: format!("what comes by {name} is not seen by the rules"),
            cause: format!("{name} belongs to {master}, and packets carry the name of that"),
            cure: format!(
                "name {master} instead, with its ports isolated if it is a bridge, or take {name} out of it"
            ),
        })
        .collect();
    let verified = listed.as_ref().is_ok_and(Vec::is_empty);
    if !verified && !sidecar {
        findings.extend(observed.forwarding.iter().map(|setting| Finding {
            problem: "the kernel forwards packets, and no verified rule ends them".to_owned(),
            cause: format!("{setting} is on"),
            cure: format!("sysctl -w {setting}=0"),
        }));
    }
    match listed {
        Ok(more) => findings.extend(more),
        Err(reason) if findings.is_empty() => return Verdict::Unknown(reason),
        Err(reason) => findings.push(Finding {
            problem: "whether the rules are loaded is not known".to_owned(),
            cause: reason,
            cure: "run the gateway where nft is installed and may list rules (CAP_NET_ADMIN)".to_owned(),
        }),
    }
    if findings.is_empty() { Verdict::Proven } else { Verdict::Broken(findings) }
}
