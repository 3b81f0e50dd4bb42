use secrecy::{ExposeSecret, SecretString};

/// A setting as it was given, for people who look after the service.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The subject, such as `Passwords`.
    pub heading: String,
    /// The variable.
    pub variable: String,
    /// What it is for.
    pub about: String,
    /// The value; none when nothing was given, and always none of a secret.
    pub value: Option<String>,
    /// Whether it is a secret.
    pub is_secret: bool,
    /// The value of a secret, which is compared and never shown.
    pub secret: Option<SecretString>,
    /// Whether nobody has set it.
    pub is_default: bool,
}

impl Setting {
    /// Whether this is another value than before.
    pub fn differs_from(&self, before: &Self) -> bool {
        let secret = |setting: &Self| setting.secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        self.value != before.value || secret(self) != secret(before)
    }
}
