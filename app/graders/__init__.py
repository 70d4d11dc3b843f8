"""From a model's sample to a reward, as OpenAI's graders do it."""
