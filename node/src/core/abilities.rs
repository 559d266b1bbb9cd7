//! What a model can do beyond what any does, by its header's facts. It runs nothing: whether its template
//! really shows tools is found when it is prepared.

use llama_sys::gguf::ModelFacts;
use protocol::advert::Abilities;

/// What a model can do.
pub fn of(facts: &ModelFacts) -> Abilities {
    let templates = &facts.chat_templates;
    let names_tools = |template: &String| template.contains("tools");
    let default = templates.default.as_ref();
    Abilities {
        embeds: !facts.can_generate(),
        tools: default.is_some_and(names_tools) || templates.named.contains_key("tool_use"),
    }
}

#[cfg(test)]
mod tests {
    use llama_sys::gguf::{Header, specimen};

    use super::*;

    #[test]
    fn tools_and_embeddings_are_told() {
        let bytes = specimen::tiny_llama().bytes();
        let header = Header::read(&mut std::io::Cursor::new(bytes)).unwrap();
        let mut facts = ModelFacts::from_header(&header).unwrap();
        facts.chat_templates.default = Some("{{ messages }}".into());
        assert_eq!(of(&facts), Abilities::default());
        facts.chat_templates.default = Some("{% if tools %}{{ tools }}{% endif %}".into());
        assert!(of(&facts).tools && !of(&facts).embeds);
        facts.architecture = "bert".into();
        assert!(of(&facts).embeds);
    }
}
