"""From chats to tokens and back."""
