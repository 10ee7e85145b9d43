//! Fields of the language that this version does not carry out: refused in plain words.

use crate::source::Fields;

/// Reports every field that this version does not carry out.
pub(super) fn report(fields: &Fields<'_>) {
    for key in ["ask", "hooks"] {
        if let Some(spot) = fields.get(key) {
            spot.error_cure(
                format!("`{key}` is a feature that this version does not have"),
                format!("remove `{key}`"),
            );
        }
    }
}
