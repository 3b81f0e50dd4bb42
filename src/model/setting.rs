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
    /// What stands for the value of a secret, to compare it: a hash with a key of this process.
    pub secret_hash: Option<u64>,
    /// Whether nobody has set it.
    pub is_default: bool,
}

impl Setting {
    /// Whether this is another value than before.
    pub fn differs_from(&self, before: &Self) -> bool {
        self.value != before.value || self.secret_hash != before.secret_hash
    }
}
