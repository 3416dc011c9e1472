//! Every icon the window uses, by the name the code calls it. They are drawn once as symbols (`Sprite.svelte`)
//! and used by reference: a list of forty rows shows hundreds, and an icon must cost two nodes, not a component tree.
import Activity from '@lucide/svelte/icons/activity'
import ArchiveRestore from '@lucide/svelte/icons/archive-restore'
import ArrowDown from '@lucide/svelte/icons/arrow-down'
import ArrowDownUp from '@lucide/svelte/icons/arrow-down-up'
import ArrowLeft from '@lucide/svelte/icons/arrow-left'
import ArrowRight from '@lucide/svelte/icons/arrow-right'
import ArrowUp from '@lucide/svelte/icons/arrow-up'
import ArrowUpNarrowWide from '@lucide/svelte/icons/arrow-up-narrow-wide'
import ArrowUpToLine from '@lucide/svelte/icons/arrow-up-to-line'
import BadgeCheck from '@lucide/svelte/icons/badge-check'
import Ban from '@lucide/svelte/icons/ban'
import Braces from '@lucide/svelte/icons/braces'
import Calendar from '@lucide/svelte/icons/calendar'
import CalendarCheck from '@lucide/svelte/icons/calendar-check'
import CalendarClock from '@lucide/svelte/icons/calendar-clock'
import CalendarPlus from '@lucide/svelte/icons/calendar-plus'
import CalendarX from '@lucide/svelte/icons/calendar-x'
import Check from '@lucide/svelte/icons/check'
import ChevronDown from '@lucide/svelte/icons/chevron-down'
import ChevronLeft from '@lucide/svelte/icons/chevron-left'
import ChevronRight from '@lucide/svelte/icons/chevron-right'
import ChevronUp from '@lucide/svelte/icons/chevron-up'
import CircleAlert from '@lucide/svelte/icons/circle-alert'
import CircleCheck from '@lucide/svelte/icons/circle-check'
import CircleDashed from '@lucide/svelte/icons/circle-dashed'
import CircleMinus from '@lucide/svelte/icons/circle-minus'
import CircleQuestionMark from '@lucide/svelte/icons/circle-question-mark'
import CircleX from '@lucide/svelte/icons/circle-x'
import Clock from '@lucide/svelte/icons/clock'
import CloudOff from '@lucide/svelte/icons/cloud-off'
import Copy from '@lucide/svelte/icons/copy'
import CornerUpRight from '@lucide/svelte/icons/corner-up-right'
import Cpu from '@lucide/svelte/icons/cpu'
import CreditCard from '@lucide/svelte/icons/credit-card'
import Database from '@lucide/svelte/icons/database'
import DoorOpen from '@lucide/svelte/icons/door-open'
import Download from '@lucide/svelte/icons/download'
import Ellipsis from '@lucide/svelte/icons/ellipsis'
import Eraser from '@lucide/svelte/icons/eraser'
import ExternalLink from '@lucide/svelte/icons/external-link'
import FileCheck from '@lucide/svelte/icons/file-check'
import FlaskConical from '@lucide/svelte/icons/flask-conical'
import GitCommitHorizontal from '@lucide/svelte/icons/git-commit-horizontal'
import GitCompareArrows from '@lucide/svelte/icons/git-compare-arrows'
import Globe from '@lucide/svelte/icons/globe'
import Hand from '@lucide/svelte/icons/hand'
import Hash from '@lucide/svelte/icons/hash'
import History from '@lucide/svelte/icons/rotate-ccw-clock'
import Hourglass from '@lucide/svelte/icons/hourglass'
import Inbox from '@lucide/svelte/icons/inbox'
import Info from '@lucide/svelte/icons/info'
import KeyRound from '@lucide/svelte/icons/key-round'
import Keyboard from '@lucide/svelte/icons/keyboard'
import Languages from '@lucide/svelte/icons/languages'
import Layers from '@lucide/svelte/icons/layers'
import Link from '@lucide/svelte/icons/link'
import ListTree from '@lucide/svelte/icons/list-tree'
import Loader from '@lucide/svelte/icons/loader'
import Lock from '@lucide/svelte/icons/lock'
import LogOut from '@lucide/svelte/icons/log-out'
import Mail from '@lucide/svelte/icons/mail'
import MailCheck from '@lucide/svelte/icons/mail-check'
import MailWarning from '@lucide/svelte/icons/mail-warning'
import MailX from '@lucide/svelte/icons/mail-x'
import MapPin from '@lucide/svelte/icons/map-pin'
import Maximize2 from '@lucide/svelte/icons/maximize-2'
import Minimize2 from '@lucide/svelte/icons/minimize-2'
import Minus from '@lucide/svelte/icons/minus'
import Monitor from '@lucide/svelte/icons/monitor'
import Moon from '@lucide/svelte/icons/moon'
import MousePointerClick from '@lucide/svelte/icons/mouse-pointer-click'
import NotebookText from '@lucide/svelte/icons/notebook-text'
import PackageOpen from '@lucide/svelte/icons/package-open'
import Palette from '@lucide/svelte/icons/palette'
import Paperclip from '@lucide/svelte/icons/paperclip'
import Pause from '@lucide/svelte/icons/pause'
import PencilLine from '@lucide/svelte/icons/pencil-line'
import Phone from '@lucide/svelte/icons/phone'
import Play from '@lucide/svelte/icons/play'
import Plus from '@lucide/svelte/icons/plus'
import Radio from '@lucide/svelte/icons/radio'
import RefreshCw from '@lucide/svelte/icons/refresh-cw'
import RotateCw from '@lucide/svelte/icons/rotate-cw'
import Save from '@lucide/svelte/icons/save'
import Search from '@lucide/svelte/icons/search'
import SearchX from '@lucide/svelte/icons/search-x'
import Send from '@lucide/svelte/icons/send'
import Server from '@lucide/svelte/icons/server'
import Settings2 from '@lucide/svelte/icons/settings-2'
import ShieldAlert from '@lucide/svelte/icons/shield-alert'
import ShieldCheck from '@lucide/svelte/icons/shield-check'
import SkipForward from '@lucide/svelte/icons/skip-forward'
import Smartphone from '@lucide/svelte/icons/smartphone'
import Sparkles from '@lucide/svelte/icons/sparkles'
import Square from '@lucide/svelte/icons/square'
import Store from '@lucide/svelte/icons/store'
import Sun from '@lucide/svelte/icons/sun'
import SunMoon from '@lucide/svelte/icons/sun-moon'
import Timer from '@lucide/svelte/icons/timer'
import TimerOff from '@lucide/svelte/icons/timer-off'
import TriangleAlert from '@lucide/svelte/icons/triangle-alert'
import Undo2 from '@lucide/svelte/icons/undo-2'
import Unplug from '@lucide/svelte/icons/unplug'
import User from '@lucide/svelte/icons/user'
import UserPlus from '@lucide/svelte/icons/user-plus'
import UserRound from '@lucide/svelte/icons/user-round'
import UserRoundCheck from '@lucide/svelte/icons/user-round-check'
import UserRoundX from '@lucide/svelte/icons/user-round-x'
import Users from '@lucide/svelte/icons/users'
import Wallet from '@lucide/svelte/icons/wallet'
import Webhook from '@lucide/svelte/icons/webhook'
import Workflow from '@lucide/svelte/icons/workflow'
import PowerOff from '@lucide/svelte/icons/power-off'
import Power from '@lucide/svelte/icons/power'
import Terminal from '@lucide/svelte/icons/terminal'
import Eye from '@lucide/svelte/icons/eye'
import Bookmark from '@lucide/svelte/icons/bookmark'
import Trash from '@lucide/svelte/icons/trash'
import BookOpen from '@lucide/svelte/icons/book-open'
import Shield from '@lucide/svelte/icons/shield'
import Route from '@lucide/svelte/icons/route'
import ClockAlert from '@lucide/svelte/icons/clock-alert'
import ArrowDownToLine from '@lucide/svelte/icons/arrow-down-to-line'
import X from '@lucide/svelte/icons/x'

export const icons = {
  'activity': Activity,
  'archive-restore': ArchiveRestore,
  'arrow-down': ArrowDown,
  'arrow-down-up': ArrowDownUp,
  'arrow-left': ArrowLeft,
  'arrow-right': ArrowRight,
  'arrow-up': ArrowUp,
  'arrow-up-narrow-wide': ArrowUpNarrowWide,
  'arrow-up-to-line': ArrowUpToLine,
  'badge-check': BadgeCheck,
  'ban': Ban,
  'braces': Braces,
  'calendar': Calendar,
  'calendar-check': CalendarCheck,
  'calendar-clock': CalendarClock,
  'calendar-plus': CalendarPlus,
  'calendar-x': CalendarX,
  'check': Check,
  'chevron-down': ChevronDown,
  'chevron-left': ChevronLeft,
  'chevron-right': ChevronRight,
  'chevron-up': ChevronUp,
  'circle-alert': CircleAlert,
  'circle-check': CircleCheck,
  'circle-dashed': CircleDashed,
  'circle-minus': CircleMinus,
  'circle-question-mark': CircleQuestionMark,
  'circle-x': CircleX,
  'clock': Clock,
  'cloud-off': CloudOff,
  'copy': Copy,
  'corner-up-right': CornerUpRight,
  'cpu': Cpu,
  'credit-card': CreditCard,
  'database': Database,
  'door-open': DoorOpen,
  'download': Download,
  'ellipsis': Ellipsis,
  'eraser': Eraser,
  'external-link': ExternalLink,
  'file-check': FileCheck,
  'flask-conical': FlaskConical,
  'git-commit-horizontal': GitCommitHorizontal,
  'git-compare-arrows': GitCompareArrows,
  'globe': Globe,
  'hand': Hand,
  'hash': Hash,
  'history': History,
  'hourglass': Hourglass,
  'inbox': Inbox,
  'info': Info,
  'key-round': KeyRound,
  'keyboard': Keyboard,
  'languages': Languages,
  'layers': Layers,
  'link': Link,
  'list-tree': ListTree,
  'loader': Loader,
  'lock': Lock,
  'log-out': LogOut,
  'mail': Mail,
  'mail-check': MailCheck,
  'mail-warning': MailWarning,
  'mail-x': MailX,
  'map-pin': MapPin,
  'maximize-2': Maximize2,
  'minimize-2': Minimize2,
  'minus': Minus,
  'monitor': Monitor,
  'moon': Moon,
  'mouse-pointer-click': MousePointerClick,
  'notebook-text': NotebookText,
  'package-open': PackageOpen,
  'palette': Palette,
  'paperclip': Paperclip,
  'pause': Pause,
  'pencil-line': PencilLine,
  'phone': Phone,
  'play': Play,
  'plus': Plus,
  'radio': Radio,
  'refresh-cw': RefreshCw,
  'rotate-cw': RotateCw,
  'save': Save,
  'search': Search,
  'search-x': SearchX,
  'send': Send,
  'server': Server,
  'settings-2': Settings2,
  'shield-alert': ShieldAlert,
  'shield-check': ShieldCheck,
  'skip-forward': SkipForward,
  'smartphone': Smartphone,
  'sparkles': Sparkles,
  'square': Square,
  'store': Store,
  'sun': Sun,
  'sun-moon': SunMoon,
  'timer': Timer,
  'timer-off': TimerOff,
  'triangle-alert': TriangleAlert,
  'undo-2': Undo2,
  'unplug': Unplug,
  'user': User,
  'user-plus': UserPlus,
  'user-round': UserRound,
  'user-round-check': UserRoundCheck,
  'user-round-x': UserRoundX,
  'users': Users,
  'wallet': Wallet,
  'webhook': Webhook,
  'workflow': Workflow,
  'power-off': PowerOff,
  'power': Power,
  'terminal': Terminal,
  'eye': Eye,
  'bookmark': Bookmark,
  'trash': Trash,
  'book-open': BookOpen,
  'shield': Shield,
  'route': Route,
  'clock-alert': ClockAlert,
  'arrow-down-to-line': ArrowDownToLine,
  'x': X,
}

export type IconName = keyof typeof icons
