"""Tracking for applications that exist already: the OpenAI client, LangChain, litellm."""
