"""The local demo page: what a trained run can do, by mouse. gradio is imported when a page is built."""
