"""What results files say: figures of many rows, as text, JSON and a page."""

from bulkcancel.analysis.figures import Figures
from bulkcancel.analysis.page import as_page
from bulkcancel.analysis.reading import analyse
from bulkcancel.analysis.text import as_text

__all__ = ["Figures", "analyse", "as_page", "as_text"]
