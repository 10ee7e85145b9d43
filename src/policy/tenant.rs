//! Domains under which strangers can get a name: a table for a warning.
//!
//! A heuristic. It holds the second-level public suffixes that are met often and the storage, registry and hosting
//! domains of large clouds, not the whole Public Suffix List; a domain that it lacks costs a warning, never a verdict.

/// Second-level labels under which registries of two-letter countries sell names.
const REGISTRY_LABELS: [&str; 10] = ["ac", "co", "com", "edu", "gov", "ne", "net", "or", "org", "gob"];

/// Domains whose tenants share one service; a `*` stands for exactly one label, such as a region.
const SHARED: [&str; 46] = [
    "azurecr.io",
    "*.data.azurecr.io",
    "azureedge.net",
    "azurefd.net",
    "azurestaticapps.net",
    "*.azurestaticapps.net",
    "azurewebsites.net",
    "*.azurewebsites.net",
    "*.azurecontainerapps.io",
    "blob.core.windows.net",
    "dfs.core.windows.net",
    "file.core.windows.net",
    "queue.core.windows.net",
    "table.core.windows.net",
    "web.core.windows.net",
    "*.web.core.windows.net",
    "cloudapp.net",
    "*.cloudapp.azure.com",
    "database.windows.net",
    "servicebus.windows.net",
    "vault.azure.net",
    "s3.amazonaws.com",
    "s3.*.amazonaws.com",
    "s3.dualstack.*.amazonaws.com",
    "s3-website.*.amazonaws.com",
    "*.dkr.ecr.*.amazonaws.com",
    "dkr.ecr.*.amazonaws.com",
    "execute-api.*.amazonaws.com",
    "lambda-url.*.on.aws",
    "*.elb.amazonaws.com",
    "cloudfront.net",
    "storage.googleapis.com",
    "appspot.com",
    "run.app",
    "*.run.app",
    "cloudfunctions.net",
    "web.app",
    "firebaseapp.com",
    "r2.cloudflarestorage.com",
    "r2.dev",
    "pages.dev",
    "workers.dev",
    "github.io",
    "herokuapp.com",
    "netlify.app",
    "vercel.app",
];

/// Whether strangers can get names directly below these labels (left to right, canonical).
pub(super) fn is_shared(labels: &[&str]) -> bool {
    let registry = match labels {
        [] | [_] => true,
        [second, top] => top.len() == 2 && REGISTRY_LABELS.contains(second),
        _ => false,
    };
    registry || SHARED.iter().any(|shared| fits(shared, labels))
}

/// Whether labels are those of a table entry.
fn fits(entry: &str, labels: &[&str]) -> bool {
    entry.split('.').count() == labels.len()
        && entry.split('.').zip(labels).all(|(own, label)| own == "*" || own == *label)
}
